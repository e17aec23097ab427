# Offers those of the given words that begin with the current one.
_rt_words() {
    COMPREPLY=($(compgen -W "$1" -- "$cur"))
}

# Offers the ids of the containers below the directory of --root.
_rt_containers() {
    _rt_words "$(rt ${root[@]+"${root[@]}"} list -q 2>/dev/null)"
}

# Completes an argument without a flag. Fails if the current word is something else.
_rt_arguments() {
    local flags=" @FLAGS@ "
    local cur="$1" word verb="" count=0 root=() i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        if [[ "$word" == -?* ]]; then
            # bash takes the = of --root=DIR for a word of its own.
            if [[ "${COMP_WORDS[i + 1]}" == "=" ]]; then
                ((i += 2))
            elif [[ "$flags" == *" $verb$word "* ]]; then
                ((i += 1))
            fi
            if [[ -z "$verb" && "$word" == --root ]]; then
                root=(--root "${COMP_WORDS[i]}")
            fi
        elif [[ -z "$verb" ]]; then
            verb="$word"
        else
            ((count += 1))
        fi
    done
    if [[ $i -ne $COMP_CWORD || "$cur" == -* ]]; then
        return 1
    fi
    COMPREPLY=()
    case "$verb $count" in
@CASES@
        *) return 1 ;;
    esac
}

_rt_complete() {
    local prev="$3"
    if [[ "$prev" == "=" ]]; then
        prev="${COMP_WORDS[COMP_CWORD - 2]}"
    fi
    _rt_arguments "$2" || _rt "$1" "$2" "$prev"
}
