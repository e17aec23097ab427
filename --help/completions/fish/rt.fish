# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rt_global_optspecs
    string join \n root= log= log-format= debug rootless= cgroup-manager= h/help v/version
end

function __fish_rt_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rt_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rt_using_subcommand
    set -l cmd (__fish_rt_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rt -n "__fish_rt_needs_command" -l root -d 'Where containers are kept [default: /run/rt; for a user $XDG_RUNTIME_DIR/rt]' -r -F
complete -c rt -n "__fish_rt_needs_command" -l log -d 'Writes the log to this file' -r -F
complete -c rt -n "__fish_rt_needs_command" -l log-format -d 'text or json [default: text]' -r
complete -c rt -n "__fish_rt_needs_command" -l rootless -d 'Ignores errors about rights to cgroups: true, false or auto [default: auto]' -r
complete -c rt -n "__fish_rt_needs_command" -l cgroup-manager -d 'cgroupfs, or disabled for no cgroups at all [default: cgroupfs]' -r
complete -c rt -n "__fish_rt_needs_command" -l debug -d 'Says more in the log'
complete -c rt -n "__fish_rt_needs_command" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_needs_command" -s v -l version -d 'Shows the version'
complete -c rt -n "__fish_rt_needs_command" -f -a "run" -d 'Makes a container from a bundle and runs it'
complete -c rt -n "__fish_rt_needs_command" -f -a "create" -d 'Makes a container from a bundle, to be started later'
complete -c rt -n "__fish_rt_needs_command" -f -a "exec" -d 'Runs another process in a container that runs'
complete -c rt -n "__fish_rt_needs_command" -f -a "start" -d 'Starts the program of a created container'
complete -c rt -n "__fish_rt_needs_command" -f -a "state" -d 'Shows the state of a container as JSON'
complete -c rt -n "__fish_rt_needs_command" -f -a "kill" -d 'Sends a signal to the process of a container'
complete -c rt -n "__fish_rt_needs_command" -f -a "pause" -d 'Holds all processes of a container still'
complete -c rt -n "__fish_rt_needs_command" -f -a "resume" -d 'Lets the processes of a paused container go on'
complete -c rt -n "__fish_rt_needs_command" -f -a "update" -d 'Changes the limits of a container'
complete -c rt -n "__fish_rt_needs_command" -f -a "delete" -d 'Deletes a container that has stopped'
complete -c rt -n "__fish_rt_needs_command" -f -a "list" -d 'Lists the containers'
complete -c rt -n "__fish_rt_needs_command" -f -a "ps" -d 'Lists the processes of a container'
complete -c rt -n "__fish_rt_needs_command" -f -a "spec" -d 'Writes a config.json to start from'
complete -c rt -n "__fish_rt_needs_command" -f -a "features" -d 'Shows what this version supports as JSON'
complete -c rt -n "__fish_rt_using_subcommand run" -s b -l bundle -d 'The bundle [default: .]' -r -F
complete -c rt -n "__fish_rt_using_subcommand run" -l pid-file -d 'Writes the process id to this file' -r -F
complete -c rt -n "__fish_rt_using_subcommand run" -l console-socket -d 'Sends the container\'s terminal to whoever listens on this socket' -r -F
complete -c rt -n "__fish_rt_using_subcommand run" -l pidfd-socket -d 'Sends a pidfd of the process to whoever listens on this socket' -r -F
complete -c rt -n "__fish_rt_using_subcommand run" -l preserve-fds -d 'Hands on so many descriptors beside standard input, output and error' -r
complete -c rt -n "__fish_rt_using_subcommand run" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand run" -l no-pivot -d 'For a root on a ramdisk, where pivot_root(2) cannot work'
complete -c rt -n "__fish_rt_using_subcommand run" -l no-new-keyring -d 'Keeps the session keyring of the caller'
complete -c rt -n "__fish_rt_using_subcommand run" -s d -l detach -d 'Returns as soon as the container runs'
complete -c rt -n "__fish_rt_using_subcommand run" -l keep -d 'Keeps the container when its process has ended'
complete -c rt -n "__fish_rt_using_subcommand run" -l no-subreaper -d 'Leaves orphans of the container to this machine\'s init'
complete -c rt -n "__fish_rt_using_subcommand create" -s b -l bundle -d 'The bundle [default: .]' -r -F
complete -c rt -n "__fish_rt_using_subcommand create" -l pid-file -d 'Writes the process id to this file' -r -F
complete -c rt -n "__fish_rt_using_subcommand create" -l console-socket -d 'Sends the container\'s terminal to whoever listens on this socket' -r -F
complete -c rt -n "__fish_rt_using_subcommand create" -l pidfd-socket -d 'Sends a pidfd of the process to whoever listens on this socket' -r -F
complete -c rt -n "__fish_rt_using_subcommand create" -l preserve-fds -d 'Hands on so many descriptors beside standard input, output and error' -r
complete -c rt -n "__fish_rt_using_subcommand create" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand create" -l no-pivot -d 'For a root on a ramdisk, where pivot_root(2) cannot work'
complete -c rt -n "__fish_rt_using_subcommand create" -l no-new-keyring -d 'Keeps the session keyring of the caller'
complete -c rt -n "__fish_rt_using_subcommand exec" -l cwd -d 'Its working directory' -r
complete -c rt -n "__fish_rt_using_subcommand exec" -s e -l env -d 'Adds to its environment' -r
complete -c rt -n "__fish_rt_using_subcommand exec" -s u -l user -d 'Runs it as this user, by number' -r
complete -c rt -n "__fish_rt_using_subcommand exec" -s g -l additional-gids -d 'Adds a group, by number' -r
complete -c rt -n "__fish_rt_using_subcommand exec" -s p -l process -d 'Reads all of it from this file: `process` as in config.json' -r -F
complete -c rt -n "__fish_rt_using_subcommand exec" -l pid-file -d 'Writes its process id to this file' -r -F
complete -c rt -n "__fish_rt_using_subcommand exec" -l console-socket -d 'Sends its terminal to whoever listens on this socket' -r -F
complete -c rt -n "__fish_rt_using_subcommand exec" -l pidfd-socket -d 'Sends a pidfd of the process to whoever listens on this socket' -r -F
complete -c rt -n "__fish_rt_using_subcommand exec" -l preserve-fds -d 'Hands on so many descriptors beside standard input, output and error' -r
complete -c rt -n "__fish_rt_using_subcommand exec" -l process-label -d 'Its label for SELinux' -r
complete -c rt -n "__fish_rt_using_subcommand exec" -l apparmor -d 'Its profile of AppArmor' -r
complete -c rt -n "__fish_rt_using_subcommand exec" -s c -l cap -d 'Adds a capability: CAP_NET_RAW' -r
complete -c rt -n "__fish_rt_using_subcommand exec" -l cgroup -d 'Puts it below the container\'s cgroup' -r
complete -c rt -n "__fish_rt_using_subcommand exec" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand exec" -s t -l tty -d 'Gives it a terminal'
complete -c rt -n "__fish_rt_using_subcommand exec" -s d -l detach -d 'Returns as soon as it runs'
complete -c rt -n "__fish_rt_using_subcommand exec" -l no-new-privs -d 'It can gain no privileges by execve(2)'
complete -c rt -n "__fish_rt_using_subcommand exec" -l ignore-paused -d 'Lets it join a paused container, to wait with it'
complete -c rt -n "__fish_rt_using_subcommand start" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand state" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand kill" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand kill" -s a -l all -d 'To all of its processes, also those left when it has stopped'
complete -c rt -n "__fish_rt_using_subcommand pause" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand resume" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand update" -s r -l resources -d 'The limits as JSON, as linux.resources has them; - is standard input' -r -F
complete -c rt -n "__fish_rt_using_subcommand update" -l memory -d 'Bytes of memory, as 512m; -1 is unlimited' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l memory-swap -d 'Bytes of memory and swap together; -1 is unlimited' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l memory-reservation -d 'Bytes of memory that are reclaimed last' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l cpu-share -d 'Weight of its CPU time; 1024 is ordinary' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l cpu-quota -d 'Microseconds of CPU time in each period; -1 is unlimited' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l cpu-period -d 'Length of a period in microseconds' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l cpu-burst -d 'Microseconds of CPU time that may be saved up' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l cpu-idle -d '1: runs only when nobody else wants to; 0: not so' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l cpu-rt-period -d 'Length of a period of real-time scheduling in microseconds' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l cpu-rt-runtime -d 'Microseconds of real-time scheduling in each period' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l cpuset-cpus -d 'CPUs to run on, as 0-3,8' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l cpuset-mems -d 'Memory nodes to use' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l pids-limit -d 'Number of tasks; -1 is unlimited' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l blkio-weight -d 'Weight of its block I/O; only 0, for none, in this version' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l kernel-memory -d 'Means nothing any more: says so and does nothing' -r
complete -c rt -n "__fish_rt_using_subcommand update" -l kernel-memory-tcp -d 'Means nothing any more: says so and does nothing' -r
complete -c rt -n "__fish_rt_using_subcommand update" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand delete" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand delete" -s f -l force -d 'Kills it first if it still runs; no error if there is none'
complete -c rt -n "__fish_rt_using_subcommand list" -s f -l format -d 'table or json' -r
complete -c rt -n "__fish_rt_using_subcommand list" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand list" -s q -l quiet -d 'Shows the ids only'
complete -c rt -n "__fish_rt_using_subcommand ps" -s f -l format -d 'table or json' -r
complete -c rt -n "__fish_rt_using_subcommand ps" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand spec" -s b -l bundle -d 'Where to (default: the working directory)' -r -F
complete -c rt -n "__fish_rt_using_subcommand spec" -s h -l help -d 'Shows this'
complete -c rt -n "__fish_rt_using_subcommand spec" -l rootless -d 'For a container that a user runs without privileges'
complete -c rt -n "__fish_rt_using_subcommand features" -s h -l help -d 'Shows this'
