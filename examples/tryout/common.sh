# What the scripts of this directory have in common: nodes on loopback, what is asked of them, what has to be seen. Sourced by
# them, not run. Needs bash 4 and the tools that every system has.
#
# The binary is the script's first argument, or $TIDINGS, or target/release/tidings, or the one on the PATH. Exit codes of a
# script: 0 all was seen, 1 something was not (DIFFERENT: what), 2 there is no binary, 77 something else that it needs is missing
# (SKIPPED: what).
set -euo pipefail
export LC_ALL=C

# The reader's own settings are not meant for these nodes.
unset "${!TIDINGS_@}" SOCKET_ADDRESS VIEW
export TIDINGS_CONFIG=/dev/null

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tidings=${1:-${TIDINGS:-$repository/target/release/tidings}}
[[ -n ${1:-${TIDINGS:-}} || -x $tidings ]] || tidings=tidings
if ! "$tidings" --version >/dev/null 2>&1; then
    echo "$0: there is no tidings: build it (cargo build --release), or name it: $0 PATH" >&2
    exit 2
fi

# How long something may take to be seen, in seconds: far longer than it takes.
patience=${PATIENCE:-60}
work=$(mktemp -d)
"$tidings" secret new >"$work/secret"
chmod 600 "$work/secret"
secret=$work/secret
data=$work        # where their data directories are
settings=()       # flags of all nodes
under=()          # what they are started with
address=127.0.0.1 # where they hear each other
declare -A pid http quic
steps=0

clean_up() {
    local status=$? name
    if ((status != 0 && status != 77)); then
        for name in "$work"/*.log; do
            [[ -s $name ]] && tail -n 5 "$name" | sed "s|^|     $(basename "$name"): |" >&2
        done
    fi
    ((${#pid[@]} == 0)) || kill -KILL "${pid[@]}" 2>/dev/null || true
    at_the_end
    rm -rf "$work" || true
    exit "$status"
}
at_the_end() { :; } # for a script that has more to clean up
trap clean_up EXIT
trap 'exit 130' INT TERM

# ---- What is told

step() { printf '\n%d. %s\n' "$((++steps))" "$*"; }
note() { printf '   %s\n' "$*"; }
different() {
    printf 'DIFFERENT: %s\n' "$*" >&2
    exit 1
}
skip() {
    printf 'SKIPPED: %s: %s\n' "$(basename "$0")" "$*" >&2
    exit 77
}

# see WHAT COMMAND…: waits until the command succeeds, and tells it.
see() {
    local what=$1 end=$((SECONDS + patience))
    shift
    until "$@"; do
        ((SECONDS < end)) || different "not seen within $patience s: $what"
        sleep 0.1
    done
    note "seen: $what"
}

# keep SECONDS WHAT COMMAND…: it succeeds all that time.
keep() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until ((SECONDS > end)); do
        "$@" || different "it did not last: $what"
        sleep 0.3
    done
    note "seen: $what"
}

# ---- Nodes

# start NAME [FLAG…]: a node that joins those that run; with what it had, if it ran before.
start() {
    local name=$1 others
    shift
    others=$(IFS=,; echo "${quic[*]}")
    [[ " $* " == *" --in-memory "* ]] || set -- --data-dir "$data/$name" "$@"
    launch "$name" node --name "$name" --listen "$address:0" --http 127.0.0.1:0 \
        --secret-file "$secret" ${others:+--join "$others"} ${settings[@]+"${settings[@]}"} "$@"
    read -r _ http[$name] _ quic[$name] <"$work/$name.out"
}

# launch NAME COMMAND…: until it has said its first line.
launch() {
    local name=$1 end=$((SECONDS + patience))
    shift
    : >"$work/$name.out"
    ${under[@]+"${under[@]}"} "$tidings" "$@" >"$work/$name.out" 2>>"$work/$name.log" &
    pid[$name]=$!
    disown
    until grep -q 'http://.*quic ' "$work/$name.out"; do
        kill -0 "${pid[$name]}" 2>/dev/null || different "$name has not started"
        ((SECONDS < end)) || different "$name says nothing"
        sleep 0.05
    done
}

# end SIGNAL NAME…: TERM ends nodes in order, KILL at once.
end() {
    local signal=$1 name pids=()
    shift
    for name; do pids+=("${pid[$name]}"); done
    kill -s "$signal" "${pids[@]}"
    for name; do
        while kill -0 "${pid[$name]}" 2>/dev/null; do sleep 0.02; done
        unset "pid[$name]" "http[$name]" "quic[$name]"
    done
}

# A node that is paused neither hears nor says anything, and does not know it.
pause() { for name; do kill -s STOP "${pid[$name]}"; done; }
resume() { for name; do kill -s CONT "${pid[$name]}"; done; }

# ---- What nodes are asked

at() { "$tidings" "${@:2}" --http "${http[$1]}"; }

# on NAME COMMAND…: the same, shown as one would type it.
on() {
    local word
    printf '     %s$ tidings' "$1"
    for word in "${@:2}"; do
        [[ $word == *" "* ]] && printf " '%s'" "$word" || printf ' %s' "$word"
    done
    echo
    at "$@" | sed 's/^/     /'
}

# page NAME PATH [METHOD]: what it answers.
page() {
    local server=${http[$1]#http://}
    {
        printf '%s %s HTTP/1.0\r\nHost: %s\r\nContent-Length: 0\r\n\r\n' "${3:-GET}" "$2" "$server" >&3
        sed '1,/^\r$/d' <&3
    } 3<>"/dev/tcp/${server%:*}/${server##*:}"
}

# figure NAME METRIC: the sum of its samples, of those with these labels if METRIC goes on with `{label="…`.
figure() {
    page "$1" /metrics | awk -v metric="$2" '
        index($0, metric) == 1 && substr($0, length(metric) + 1, 1) !~ /[a-z_0-9]/ { sum += $NF; found = 1 }
        END { if (!found) exit 1; printf "%.15g\n", sum }'
}

# For see and keep: they succeed if it is so.
shows() { [[ $(at "$1" get "$2" 2>/dev/null) == "$3" ]]; }
lacks() {
    local code=0
    at "$1" get "$2" >/dev/null 2>&1 || code=$?
    ((code == 3))
}

# is NAME METRIC COMPARISON NUMBER, as: is node1 tidings_keys == 5
is() {
    local value
    value=$(figure "$1" "$2" 2>/dev/null) && awk "BEGIN { exit !($value $3 $4) }"
}

# simulate FLAG…: its table, shown and kept in $work/simulated
simulate() {
    printf '     $ tidings simulate'
    printf ' %s' "$@"
    echo
    "$tidings" simulate "$@" >"$work/simulated" 2>&1 || different "$(tail -n 1 "$work/simulated")"
    sed 's/^/     /' "$work/simulated"
}

# everywhere COMMAND ARGUMENTS…: COMMAND NAME ARGUMENTS… of every node that runs
everywhere() {
    local name
    for name in "${!http[@]}"; do "$1" "$name" "${@:2}" || return 1; done
}

# All that run hold the same, nothing is on its way, and nobody had to mend what must not be: equal contexts with unequal states.
agree() {
    local name sums
    everywhere is tidings_defects_total == 0 || return 1
    sums=$(for name in "${!http[@]}"; do at "$name" status --json; done |
        sed -n 's/.*\("audit":{[^}]*}\).*\("pending":[0-9]*\).*/\1 \2/p')
    (($(wc -l <<<"$sums") == ${#http[@]} && $(sort -u <<<"$sums" | wc -l) == 1)) && [[ $sums == *'"pending":0' ]]
}
