# For scripts that start daemons: a folder of their own, with all that belongs to it removed at the end,
# also after a failure and after Ctrl-C. Sourced, not run.
#
#   scratch_open NAME      sets $scratch, a new folder, and $namespace, a namespace nobody else uses
#   scratch_start LOG PROGRAM ARGS...    starts a program in the background; sets $started to its pid
#   scratch_stop PID       ends it in an orderly way
#   scratch_wait PID LOG COMMAND...      waits until the command succeeds
#   now, milliseconds      a clock

scratch= namespace= started=
scratch_pids=()

scratch_open() {
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/$1.XXXXXX")
    namespace=$1-$$
    trap scratch_close EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

scratch_start() {
    local log=$1
    shift
    # A session of its own: Ctrl-C reaches the script, which then ends things in order.
    setsid "$@" </dev/null >>"$log" 2>&1 &
    started=$!
    scratch_pids+=("$started")
}

scratch_stop() {
    local pid kept=()
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
    for pid in "${scratch_pids[@]}"; do
        [ "$pid" = "$1" ] || kept+=("$pid")
    done
    scratch_pids=("${kept[@]}")
}

scratch_wait() {
    local pid=$1 log=$2
    shift 2
    for _ in $(seq 500); do
        ! "$@" >/dev/null 2>&1 || return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.02
    done
    tail -n 20 "$log" >&2
    printf 'does not succeed: %s\n' "$*" >&2
    return 1
}

# Processes that have the scratch folder in their command line, or are in it.
scratch_processes() {
    local dir
    for dir in /proc/[0-9]*; do
        [ "${dir#/proc/}" != $$ ] || continue
        if tr '\0' ' ' 2>/dev/null <"$dir/cmdline" | grep -qF "$scratch" ||
            [[ $(readlink "$dir/cwd" 2>/dev/null) == "$scratch"* ]]; then
            printf '%s\n' "${dir#/proc/}"
        fi
    done
}

scratch_close() {
    local status=$? pid target
    trap - EXIT INT TERM
    if [ "$status" -ne 0 ] && [ "$status" -lt 128 ]; then
        tail -n 10 "$scratch"/*.log >&2 2>/dev/null || true
    fi
    for pid in "${scratch_pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    # Containers outlive their daemon by design; an interrupted one goes here, and its shim.
    for pid in $(scratch_processes); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    awk -v top="$scratch/" 'index($5, top) == 1 { print $5 }' /proc/self/mountinfo | tac |
        while read -r target; do umount -l "$target" || true; done
    find /sys/fs/cgroup -depth -type d -path "*/$namespace*" -exec rmdir {} + 2>/dev/null || true
    rm -rf "$scratch"
    exit "$status"
}

now() { printf '%s\n' "${EPOCHREALTIME/[.,]/}"; } # microseconds

milliseconds() { awk -v us="$1" 'BEGIN { printf "%.1f ms", us / 1000 }'; }
