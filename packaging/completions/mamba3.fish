# fish completion for mamba3

set -l commands run eval tokenize detokenize info convert quantize imatrix bench selftest
set -l shapes mamba3-siso-187m mamba3-mimo-187m mamba3-siso-500m mamba3-siso-1.5b mamba3-mimo-1.5b
set -l types f32 bf16 f16 q8_0
set -l random_types q6_k q5_k q4_k q5_1 q5_0 q4_0
set -l quantized q4_k_m q4_k q5_k q6_k q8_0 q4_0 q5_0 q5_1 bf16 f16 f32

function __mamba3_using
    __fish_seen_subcommand_from $argv
end

complete -c mamba3 -n "not __mamba3_using $commands" -f -a run -d 'Continue a text'
complete -c mamba3 -n "not __mamba3_using $commands" -f -a eval -d 'Measure a model on a text'
complete -c mamba3 -n "not __mamba3_using $commands" -f -a tokenize -d 'Turn text into token ids'
complete -c mamba3 -n "not __mamba3_using $commands" -f -a detokenize -d 'Turn token ids into text'
complete -c mamba3 -n "not __mamba3_using $commands" -f -a info -d 'Show what a file holds'
complete -c mamba3 -n "not __mamba3_using $commands" -f -a convert -d 'Write a model in another format'
complete -c mamba3 -n "not __mamba3_using $commands" -f -a quantize -d 'Write a model in fewer bits'
complete -c mamba3 -n "not __mamba3_using $commands" -f -a imatrix -d 'Measure which inputs matter'
complete -c mamba3 -n "not __mamba3_using $commands" -f -a bench -d 'Measure prefill and decode'
complete -c mamba3 -n "not __mamba3_using $commands" -f -a selftest -d 'Compare results with known ones'
complete -c mamba3 -n "not __mamba3_using $commands" -f -l version -d 'Print the version'
complete -c mamba3 -s h -l help -d 'Help'

complete -c mamba3 -n '__mamba3_using run eval tokenize detokenize imatrix bench' -s m -l model -r -F -d 'Model'
complete -c mamba3 -n '__mamba3_using run eval quantize imatrix bench' -l threads -x -d 'Threads to use'
complete -c mamba3 -n '__mamba3_using run eval tokenize detokenize info quantize imatrix bench selftest' -l json -d 'Print one JSON object'
complete -c mamba3 -n '__mamba3_using run eval tokenize detokenize imatrix' -s f -l file -r -F -d 'File to read'

complete -c mamba3 -n '__mamba3_using run eval imatrix bench selftest' -l device -x -a 'cpu cuda cuda:1' -d 'Where to work'
complete -c mamba3 -n '__mamba3_using run eval imatrix bench' -l exact -d 'Float32 activations'

complete -c mamba3 -n '__mamba3_using run' -s p -l prompt -x -d 'The prompt'
complete -c mamba3 -n '__mamba3_using run bench' -s n -l tokens -x -d 'Tokens to write'
complete -c mamba3 -n '__mamba3_using run' -l stop -x -d 'End before this text'
complete -c mamba3 -n '__mamba3_using run' -l ignore-eos -d 'Go on after a token that ends a text'
complete -c mamba3 -n '__mamba3_using run' -l temp -x -d 'Temperature'
complete -c mamba3 -n '__mamba3_using run' -l top-k -x -d 'Keep the likeliest tokens'
complete -c mamba3 -n '__mamba3_using run' -l top-p -x -d 'Keep the likeliest tokens up to this sum'
complete -c mamba3 -n '__mamba3_using run' -l min-p -x -d 'Keep tokens of this relative probability'
complete -c mamba3 -n '__mamba3_using run' -l repeat-penalty -x -d 'Make recent tokens less likely'
complete -c mamba3 -n '__mamba3_using run' -l repeat-last-n -x -d 'How many tokens are recent'
complete -c mamba3 -n '__mamba3_using run' -l seed -x -d 'Seed of the draws'
complete -c mamba3 -n '__mamba3_using run' -l save-state -r -F -d 'Write the state'
complete -c mamba3 -n '__mamba3_using run' -l load-state -r -F -d 'Go on from a state'
complete -c mamba3 -n '__mamba3_using run' -l no-echo -d 'Do not print the prompt'

complete -c mamba3 -n '__mamba3_using eval; and not __mamba3_using ppl kl' -f -a ppl -d 'Perplexity'
complete -c mamba3 -n '__mamba3_using eval; and not __mamba3_using ppl kl' -f -a kl -d 'Divergence from a reference'
complete -c mamba3 -n '__mamba3_using kl' -l reference -r -F -d 'Model to compare with'
complete -c mamba3 -n '__mamba3_using kl' -l made-up -x -d 'Made-up tokens in place of a text'
complete -c mamba3 -n '__mamba3_using kl' -l drift -x -d 'Tokens read step by step'
complete -c mamba3 -n '__mamba3_using eval' -l window -x -d 'Tokens in a window'
complete -c mamba3 -n '__mamba3_using eval' -l max-windows -x -d 'Stop after so many windows'
complete -c mamba3 -n '__mamba3_using imatrix' -l window -x -d 'Tokens in a window'
complete -c mamba3 -n '__mamba3_using imatrix' -l max-windows -x -d 'Stop after so many windows'
complete -c mamba3 -n '__mamba3_using detokenize' -l skip-special -d 'Leave special tokens out'
complete -c mamba3 -n '__mamba3_using info' -l check -d 'Read every byte'
complete -c mamba3 -n '__mamba3_using info' -l devices -d 'Show where a model can run'
complete -c mamba3 -n '__mamba3_using convert bench' -l type -x -a "$types" -d 'Type of the matrices'
complete -c mamba3 -n '__mamba3_using bench' -l type -x -a "$random_types q4_1" -d 'Type of the matrices'
complete -c mamba3 -n '__mamba3_using convert; and __fish_contains_opt random' -l type -x -a "$random_types" -d 'Type of the matrices'
complete -c mamba3 -n '__mamba3_using convert bench' -l random -x -a "$shapes" -d 'Random weights of a shape'
complete -c mamba3 -n '__mamba3_using quantize' -l type -x -a "$quantized" -d 'Type of the matrices'
complete -c mamba3 -n '__mamba3_using quantize' -l imatrix -r -F -d 'Importance matrix'
complete -c mamba3 -n '__mamba3_using quantize' -l allow-requantize -d 'Begin with quantized matrices'
complete -c mamba3 -n '__mamba3_using imatrix' -s o -l output -r -F -d 'Where the matrix goes'
complete -c mamba3 -n '__mamba3_using convert quantize' -l layout -x -a 'rows tiles' -d 'Layout of the matrices'
complete -c mamba3 -n '__mamba3_using convert' -l seed -x -d 'Seed of the weights'
complete -c mamba3 -n '__mamba3_using bench' -s p -l prompt -x -d 'Lengths of prompts to read'
complete -c mamba3 -n '__mamba3_using bench' -l prompt-batch -x -d 'Prompts that are read at once'
complete -c mamba3 -n '__mamba3_using bench' -l depth -x -d 'Tokens read before writing'
complete -c mamba3 -n '__mamba3_using bench' -l batch -x -d 'Sessions that write at once'
complete -c mamba3 -n '__mamba3_using bench' -l plot -r -F -d 'SVG file to draw'
complete -c mamba3 -n '__mamba3_using bench' -l repeat -x -d 'Rounds'
complete -c mamba3 -n '__mamba3_using selftest' -l impl -x -a 'cpu cuda reference' -d 'Implementation'
complete -c mamba3 -n '__mamba3_using selftest' -l dtype -x -a 'f64 f32 bf16' -d 'Precision'
complete -c mamba3 -n '__mamba3_using selftest' -l models -r -F -d 'Folder of checkpoints'
