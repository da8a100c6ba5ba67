#!/usr/bin/env bash
# What the disk costs: the figures of docs/performance.md about it, made on this machine.
#
#     benches/disk.sh [throughput] [lone] [recovery] [snapshot] [transfer]
#
# Without a name it makes all of them, which takes about twenty minutes. Each starts clusters of
# three replicas on loopback, in a temporary directory, and ends what it started. What is compared
# is measured in turns, so that what else the machine does meets both. It asserts nothing.
#
#     QUORATE   the binary [target/release/quorate]
#     KEYS      how many keys of 128 bytes the large state has [1000000]
#     PAIRS     how many pairs of runs are compared [5 of throughput, 3 of the others]
#     PORT      the first port; this and the next 400 must be free [7800]
#     TMPDIR    where the replicas' files are: on the disk that is to be measured

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
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*"; }
load() { cut -d' ' -f1 /proc/loadavg; }

# --- clusters: a directory each, with the replicas' logs in it --------------------------------

# make NAME DURABILITY DELTA [LINE OF QUOTAS]...
make() {
    local dir=$all/$1
    "$quorate" init --t 1 --dir "$dir" --base-port "$port" --clients 1 --delta "$3" >/dev/null
    port=$((port + 10))
    sed -i "s/^durability = .*/durability = \"$2\"/" "$dir/quorate.toml"
    { echo '[quotas]'; printf '%s\n' "${@:4}"; } >"$all/$1.toml"
}

# start NAME ID [ARGUMENT]..., with the priority in `nice`
start() {
    nice -n "${nice:-0}" "$quorate" replica --config "$all/$1/quorate.toml" \
        --settings "$all/$1.toml" --id "$2" "${@:3}" >/dev/null 2>>"$all/$1.$2.log" </dev/null &
    pids[$1.$2]=$!
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

# --- what is measured ---------------------------------------------------------------------------

# compare CLIENTS OUTSTANDING PAIRS FORMAT: `reply` and `none`, started anew for each run. FORMAT is
# what awk prints of each pair: of $1 and $2 operations a second, $3 and $4 processor time for each,
# $5 and $6 their p50, first with `reply`, in microseconds, and of $7, the load.
compare() {
    local pair kind name reply=$all/reply.json none=$all/none.json
    : >"$all/rows"
    for ((pair = 1; pair <= $3; pair++)); do
        for kind in reply none; do
            name=$kind-$1-$pair
            make "$name" "$kind" 1s
            start_all "$name"
            sleep 1
            load_with "$name" "$all/$kind.json" --clients "$1" --outstanding "$2" \
                --seconds 4 --warmup 4
            stop_all "$name"
            rm -rf "${all:?}/$name"
        done
        say "$(field "$reply" ops_per_second) $(field "$none" ops_per_second)" \
            "$(field "$reply" cpu_us_per_op) $(field "$none" cpu_us_per_op)" \
            "$(field "$reply" p50) $(field "$none" p50) $(load)" >>"$all/rows"
        tail -1 "$all/rows" | awk "{ printf $4 }"
    done
}

throughput() {
    say "== throughput: 4 x 64 outstanding"
    compare 4 64 "${PAIRS:-5}" \
        '"reply %.0f/s at %.0f us, none %.0f/s at %.0f us: %.0f %% (load %s)\n",
        $1, $3, $2, $4, 100 * $1 / $2, $7'
    say "median: $(awk '{ print 100 * $1 / $2 }' "$all/rows" | median) % of the throughput," \
        "$(awk '{ print 100 * $3 / $4 }' "$all/rows" | median) % of the processor time"
}

# How long 4 KiB appended and synced take, in microseconds, with so many files at a time: the median
# of twenty-five times twenty.
sync_time() {
    local n again
    for ((n = 0; n < $1; n++)); do
        for ((again = 0; again < 25; again++)); do
            dd if=/dev/zero of="$all/sync$n" bs=4k count=20 oflag=dsync,append conv=notrunc 2>&1 |
                awk -v FS=', ' 'END { print 1e6 * $(NF - 1) / 20 }'
        done >"$all/sync$n.time" &
    done
    wait
    cat "$all"/sync?.time | median
    rm "$all"/sync?{,.time}
}

lone() {
    say "== a lone put: 1 x 1"
    local one three
    one=$(sync_time 1)
    three=$(sync_time 3)
    say "a sync: $one us, three at a time: $three us"
    compare 1 1 "${PAIRS:-3}" '"p50: reply %.0f us, none %.0f us: +%.0f us (load %s)\n",
        $5, $6, $5 - $6, $7'
    awk '{ print $5 - $6 }' "$all/rows" | median | awk -v one="$one" -v three="$three" '{ printf \
        "median: +%.0f us, %.2f syncs, %.2f of three at a time\n", $1, $1 / one, $1 / three }'
    one=$(sync_time 1)
    say "a sync afterwards: $one us, three at a time: $(sync_time 3) us"
}

recovery() {
    say "== recovery of $keys keys"
    make recovery reply 200ms 'log_bytes = 33554432'
    fill recovery 15
    stop_all recovery
    local from=$all/recovery/data/replica-3 log=$all/recovery.3.log again began at n
    grep 'made the bytes' "$log" | tail -1 | sed 's/.*: //'
    for ((again = 1; again <= ${PAIRS:-3}; again++)); do
        rm -rf "$all/alone"
        cp -r "$from" "$all/alone"
        sync
        n=$(lines "$log")
        began=$(date +%s%N)
        start recovery 3 --data "$all/alone"
        at=$(await "$log" 'took its state up' "$n")
        say "alone: $(since "$began" "$at") s, $(cpu "${pids[recovery.3]}") s of processor time," \
            "$(memory "${pids[recovery.3]}") (load $(load))"
        stop recovery 3
    done
    tail -n +$((n + 1)) "$log" | sed -n 's/.*read the log of rounds path=[^ ]* /found: /p'
    # All at once, and then one of them while the others run.
    n=$(lines "$log")
    began=$(date +%s%N)
    start_all recovery
    at=$(await "$log" 'the epoch holds.*{R1,R2,R3}' "$n")
    say "all three at once, until they are a group again: $(since "$began" "$at") s (load $(load))"
    load_with recovery "$all/out" --clients 4 --outstanding 64 --keys "$keys" --seconds 3
    stop recovery 3
    n=$(lines "$log")
    began=$(date +%s%N)
    start recovery 3
    at=$(await "$log" 'took its state up' "$n")
    say "one of three: $(since "$began" "$at") s, until it is a member again:" \
        "$(since "$began" "$(await "$log" 'is a member again replica=R3' "$n")") s (load $(load))"
    stop_all recovery
    rm -rf "${all:?}/recovery" "$all/alone"
}

# Two clusters with the same keys, of which only one saves snapshots.
snapshot() {
    say "== p99 with and without a snapshot being made, $keys keys"
    make saves reply 1s 'log_bytes = 33554432'
    make grows reply 1s 'log_bytes = 1099511627776'
    local name pair made
    for name in saves grows; do fill $name 1; done
    for ((pair = 1; pair <= ${PAIRS:-3}; pair++)); do
        for name in saves grows; do
            made=$(lines "$all/$name.1.log")
            load_with $name "$all/out" --clients 4 --outstanding 64 --keys "$keys" --seconds 40
            made=$(tail -n +$((made + 1)) "$all/$name.1.log" | grep -c 'made the bytes' || true)
            say "$name: $made snapshots, $(field "$all/out" ops_per_second)/s, p99" \
                "$(field "$all/out" p99) us, of the median second" \
                "$(seconds "$all/out" p99 | median) us, of the worst" \
                "$(seconds "$all/out" p99 | most) us, longest $(field "$all/out" max) us" \
                "(load $(load))"
        done
    done
    for name in saves grows; do stop_all $name; done
    grep -h 'made the bytes' "$all"/saves.1.log | tail -3 | sed 's/.*: //'
    rm -rf "${all:?}/saves" "$all/grows"
}

# Twice: the second time whoever fetches gets only what processor time the others leave. On a
# machine of its own it would not take it from them; how long it takes says nothing then.
transfer() {
    say "== state transfer of $keys keys under load, transfer_rate by default"
    transfer_at 0
    say "-- the same, with the lowest priority for whoever fetches"
    transfer_at 19
}

# One replica's disk is replaced while clients put; for 8 s all are there, for 12 two.
transfer_at() {
    make transfer reply 200ms
    fill transfer 1
    local log=$all/transfer.3.log n began took member end
    load_beside transfer "$all/out" --clients 4 --outstanding 64 --keys "$keys" --seconds 60
    sleep 9
    stop transfer 3
    rm -rf "$all/transfer/data/replica-3"
    sleep 12
    n=$(lines "$log")
    began=$(date +%s%N)
    nice=$1 start transfer 3 --replace-disk
    took=$(await "$log" 'took in a snapshot' "$n")
    member=$(await "$log" 'is a member again replica=R3' "$n")
    load_ended
    # It prints when it ends.
    end=$(date -r "$all/out" +%s%N)
    say "fetched after $(since "$began" "$took") s, member after $(since "$began" "$member") s"
    tail -n +$((n + 1)) "$log" | grep 'took in a snapshot' | sed 's/.*: //'
    # Which second of the run each was; in the one of the stop nothing is answered for a while.
    seconds "$all/out" count | awk -v zero="$((end / 1000000 - 60000))" \
        -v from="$((began / 1000000))" -v to="$((took / 1000000))" \
        -v member="$((member / 1000000))" '
        { at = zero + 1000 * (NR - 1); all[NR] = $1 }
        at < from - 14000 { three += $1; n3++ }
        at > from - 9000 && at + 1000 < from { two += $1; n2++ }
        at >= from && at < to { with += $1; n++ }
        at >= from && at < member { until += $1; m++ }
        END {
            printf "%.0f/s with three members, %.0f/s with two, ", three / n3, two / n2
            printf "%.0f/s with two and the transfer: %.0f %% of two, %.0f %% of three\n",
                with / n, 100 * with / n / (two / n2), 100 * with / n / (three / n3)
            printf "%.0f/s until it is a member: %.0f %% of two\n",
                until / m, 100 * until / m / (two / n2)
            for (i = 1; i <= NR; i++) printf "%d ", all[i]
            print "answers in each second"
        }'
    for n in 1 2 3; do say "replica $n: $(memory "${pids[transfer.$n]}")"; done
    stop_all transfer
    rm -rf "${all:?}/transfer"
}

say "$(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), load $(load);" \
    "files in $all"
[ $# -gt 0 ] || set -- throughput lone recovery snapshot transfer
for part in "$@"; do
    case $part in
        throughput | lone | recovery | snapshot | transfer) $part ;;
        *) say "no such part: $part" >&2; exit 2 ;;
    esac
done
