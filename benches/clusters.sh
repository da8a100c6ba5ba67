# Clusters on loopback for scripts that measure them: to be sourced by bash.
#
#     QUORATE   the binary [target/release/quorate]
#     KEYS      how many keys of 128 bytes a large state has [1000000]
#     PORT      the first port; this and the next 400 must be free [7800]
#     TMPDIR    where the replicas' files are: on the disk that is to be measured
#
# After `part_of_a_core SHARE` each replica has a control group of its own.

set -euo pipefail
export LC_ALL=C

quorate=$(realpath "${QUORATE:-target/release/quorate}")
keys=${KEYS:-1000000}
port=${PORT:-7800}
all=$(mktemp -d)
declare -A pids=()

finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$all"
    if [ -n "${groups:-}" ]; then
        # There is none if nothing was started.
        rmdir "$groups"/*/ 2>/dev/null || true
        rmdir "$groups"
    fi
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*"; }
load() { cut -d' ' -f1 /proc/loadavg; }

# --- clusters: a directory each, with the replicas' logs in it --------------------------------

# make NAME DURABILITY DELTA [LINE OF QUOTAS]..., of the fault model in `model` and with `t`
make() {
    local dir=$all/$1
    "$quorate" init --t "${t:-1}" --fault-model "${model:-byzantine}" --dir "$dir" \
        --base-port "$port" --clients 1 --delta "$3" >/dev/null
    port=$((port + 10))
    sed -i "s/^durability = .*/durability = \"$2\"/" "$dir/quorate.toml"
    { echo '[quotas]'; printf '%s\n' "${@:4}"; } >"$all/$1.toml"
}

# start NAME ID [ARGUMENT]..., with the priority in `nice`
start() {
    nice -n "${nice:-0}" "$quorate" replica --config "$all/$1/quorate.toml" \
        --settings "$all/$1.toml" --id "$2" "${@:3}" >/dev/null 2>>"$all/$1.$2.log" </dev/null &
    pids[$1.$2]=$!
    if [ -n "${share:-}" ]; then confine "$2" "$!"; fi
}

# part_of_a_core SHARE: each replica that is started gets so much of one core at most. Needs root,
# and control groups of version 1.
part_of_a_core() {
    share=$1
    groups=/sys/fs/cgroup/cpu/quorate-bench-$$
    mkdir "$groups" || { unset groups; say "needs root and control groups of version 1" >&2; exit 1; }
}

# confine ID PID: at most `share` of a core for a replica, as if it had a slower machine of its own
confine() {
    local group=$groups/$1 period=10000
    mkdir -p "$group"
    echo $period >"$group/cpu.cfs_period_us"
    calc %d "$share * $period" >"$group/cpu.cfs_quota_us"
    echo "$2" >"$group/cgroup.procs"
}

start_all() { for id in 1 2 3; do start "$1" $id; done; }

stop() {
    kill "${pids[$1.$2]}"
    wait "${pids[$1.$2]}" || true
    unset "pids[$1.$2]"
}

stop_all() { for id in 1 2 3; do stop "$1" $id; done; }

# load_with NAME OUTPUT ARGUMENT...: `quorate bench`, as JSON
load_with() {
    load_beside "$@"
    load_ended
}

load_beside() {
    "$quorate" bench --config "$all/$1/quorate.toml" --key "$all/$1/keys/client-1.pem" --json \
        --size 128 --timeout 60s "${@:3}" >"$2" &
    pids[load]=$!
}

load_ended() {
    local pid=${pids[load]}
    wait "$pid"
    unset 'pids[load]'
}

# field FILE NAME: the first of this name; of latencies those of the whole run come first
field() { sed -n "s/^ *\"$2\": \([0-9.]*\),*$/\1/p" "$1" | head -1; }

# seconds FILE NAME: the same of each second
seconds() { sed -n '/"latency_us_by_second"/,/\]/s/^ *"'"$2"'": \([0-9.]*\),*$/\1/p' "$1"; }

calc() { awk "BEGIN { printf \"$1\", $2 }"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
most() { sort -g | tail -1; }

# await LOG TEXT LINES: until the text stands behind so many lines; gives its time in nanoseconds
await() {
    local line tries=0
    until line=$(tail -n +$(($3 + 1)) "$1" | grep -m1 -- "$2"); do
        tries=$((tries + 1))
        [ $tries -lt 6000 ] || { say "no \`$2\` in two minutes:" >&2; tail -5 "$1" >&2; exit 1; }
        sleep 0.02
    done
    date -d "${line%% *}" +%s%N
}

lines() { if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi; }
since() { calc %.2f "($2 - $1) / 1e9"; }
cpu() { awk '{ sub(/.*\) /, ""); print ($12 + $13) / 100 }' "/proc/$1/stat"; }
memory() { awk '/VmRSS/ { rss = $2 } /VmHWM/ { most = $2 }
    END { printf "%d MiB (most: %d)", rss / 1024, most / 1024 }' "/proc/$1/status"; }

# A cluster with all keys in it.
fill() {
    start_all "$1"
    sleep 1
    say "empty: $(memory "${pids[$1.1]}")"
    load_with "$1" "$all/out" --clients 4 --outstanding 64 --keys "$keys" --preload --seconds "$2"
    say "with $keys keys: $(for id in 1 2 3; do memory "${pids[$1.$id]}"; echo -n '  '; done)"
}
