# bash completion for mamba3

_mamba3() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
  local shapes="mamba3-siso-187m mamba3-mimo-187m mamba3-siso-500m mamba3-siso-1.5b mamba3-mimo-1.5b"
  COMPREPLY=()
  case $previous in
    --type)
      local types="f32 bf16 f16 q8_0"
      if [[ $command == bench || " ${COMP_WORDS[*]} " == *" --random "* ]]; then
        types+=" q6_k q5_k q4_k q5_1 q5_0 q4_0"
      fi
      [[ $command == bench ]] && types+=" q4_1"
      [[ $command == quantize ]] && types="q4_k_m q4_k q5_k q6_k q8_0 q4_0 q5_0 q5_1 bf16 f16 f32"
      mapfile -t COMPREPLY < <(compgen -W "$types" -- "$current")
      return
      ;;
    --layout) mapfile -t COMPREPLY < <(compgen -W "rows tiles" -- "$current"); return ;;
    --impl) mapfile -t COMPREPLY < <(compgen -W "cpu cuda reference" -- "$current"); return ;;
    --device) mapfile -t COMPREPLY < <(compgen -W "cpu cuda cuda:1" -- "$current"); return ;;
    --dtype) mapfile -t COMPREPLY < <(compgen -W "f64 f32 bf16" -- "$current"); return ;;
    --random) mapfile -t COMPREPLY < <(compgen -W "$shapes" -- "$current"); return ;;
  esac
  local words
  if ((COMP_CWORD == 1)); then
    words="run eval tokenize detokenize info convert quantize imatrix bench selftest --version --help"
  elif [[ $current != -* ]]; then
    if [[ $command == eval && $COMP_CWORD -eq 2 ]]; then
      mapfile -t COMPREPLY < <(compgen -W "ppl kl" -- "$current")
    else
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
    return
  else
    case $command in
      run)
        words="--model --prompt --file --tokens --stop --ignore-eos --temp --top-k --top-p --min-p --repeat-penalty
          --repeat-last-n --seed --save-state --load-state --no-echo --device --exact --threads --json"
        ;;
      eval) words="--model --file --window --max-windows --reference --made-up --drift --device --exact --threads --json" ;;
      tokenize) words="--model --file --json" ;;
      detokenize) words="--model --file --skip-special --json" ;;
      info) words="--check --devices --json" ;;
      convert) words="--type --layout --random --seed" ;;
      quantize) words="--type --layout --imatrix --allow-requantize --threads --json" ;;
      imatrix) words="--model --file --output --window --max-windows --threads --json" ;;
      bench)
        words="--model --random --type --prompt --prompt-batch --tokens --depth --batch --repeat --plot --device --exact
          --threads --json"
        ;; ;;
      selftest) words="--impl --device --dtype --models --json" ;;
    esac
    words+=" --help"
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -o filenames -F _mamba3 mamba3
