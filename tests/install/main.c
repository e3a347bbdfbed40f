// The C header and the library's version.
#include <mamba3/mamba3.h>
#include <stdio.h>

int main(void) {
  printf("%s\n", mamba3_version());
  return 0;
}
