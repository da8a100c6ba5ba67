#!/usr/bin/env bash
# What the disk costs: the figures of docs/performance.md about it, made on this machine.
#
#     benches/disk.sh [throughput] [lone] [recovery] [snapshot] [transfer]
#
# Without a name it makes all of them, which takes about twenty minutes. Each starts clusters of
# three replicas on loopback, in a temporary directory, and ends what it started. What is compared
# is measured in turns, so that what else the machine does meets both. It asserts nothing.
#
#     PAIRS     how many pairs of runs are compared [5 of throughput, 3 of the others]
#     RUNS      how many transfers are made [1]
#
# and QUORATE, KEYS, PORT and TMPDIR as in clusters.sh. SHARE=0.5 gives each replica at most so much
# of one core (needs root, and control groups of version 1): as if each had a machine of its own.

source "$(dirname "${BASH_SOURCE[0]}")/clusters.sh"
if [ -n "${SHARE:-}" ]; then part_of_a_core "$SHARE"; fi

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
    local again
    say "== state transfer of $keys keys under load, transfer_rate by default"
    for ((again = 1; again <= ${RUNS:-1}; again++)); do transfer_at 0; done
    if [ -n "${share:-}" ]; then return; fi
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
