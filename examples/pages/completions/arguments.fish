# The ids of the containers below the directory of --root.
function __fish_rt_containers
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rt_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q _flag_root
        rt --root $_flag_root list -q 2>/dev/null
    else
        rt list -q 2>/dev/null
    end
end

# Whether the command is $argv[1], with $argv[2] arguments before the current word; * is any number.
function __fish_rt_at
    set -l expected "$argv"
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rt_global_optspecs) -- $cmd 2>/dev/null
    or return
    set -l verb $argv[1]
    set -l flags
    switch "$verb"
@CASES@
        case '*'
            return 1
    end
    argparse $flags -- $argv[2..] 2>/dev/null
    and string match -q -- "$expected" "$verb "(count $argv)
end

@LINES@
