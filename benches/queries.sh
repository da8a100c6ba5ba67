#!/usr/bin/env bash
# What queries gain from being answered by any member of a chain (CH-Q2) where members do not share
# their processors: each replica has a control group with a part of one core, and the client the
# rest. So three small machines are played by one with two cores.
#
#     benches/queries.sh
#
# A chain of three with two spares on loopback, asked in turns with `reads = "tail"` and "any". Needs
# root and control groups of version 1. It takes two minutes, asserts nothing, and ends what it
# started.
#
#     SHARE     the part of one core that each replica gets at most [0.2]
#     PAIRS     how many pairs of runs [5]
#     OUTSTANDING  queries of each of four clients at a time [256]
#
# and QUORATE, PORT and TMPDIR as in clusters.sh.

source "$(dirname "${BASH_SOURCE[0]}")/clusters.sh"
part_of_a_core "${SHARE:-0.2}"

for reads in tail any; do
    model=fail-stop t=2 make $reads reply 200ms
    printf '\n[chains]\nreads = "%s"\n' $reads >>"$all/$reads/quorate.toml"
done

# ask READS: a new cluster with 10,000 keys of 128 bytes, and what `bench` measures of it
ask() {
    local id
    for id in 1 2 3 4 5; do start "$1" $id; done
    sleep 6
    load_with "$1" "$all/$1.json" --clients 4 --outstanding "${OUTSTANDING:-256}" --mix get=1 \
        --keys 10000 --preload --seconds 5 --warmup 1
    for id in 1 2 3 4 5; do stop "$1" $id; done
    rm -rf "$all/$1/data"
}

say "$(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), load $(load);" \
    "each replica at most $share of one"
for ((pair = 1; pair <= ${PAIRS:-5}; pair++)); do
    for reads in tail any; do ask $reads; done
    say "$(field "$all/tail.json" ops_per_second) $(field "$all/any.json" ops_per_second)" \
        "$(field "$all/tail.json" cpu_us_per_op) $(field "$all/any.json" cpu_us_per_op)" \
        "$(field "$all/tail.json" p50) $(field "$all/any.json" p50)" >>"$all/rows"
    tail -1 "$all/rows" | awk '{
        printf "tail %.0f/s at %.1f us, p50 %.0f us; ", $1, $3, $5
        printf "any %.0f/s at %.1f us, p50 %.0f us: %.2f times\n", $2, $4, $6, $2 / $1
    }'
done
say "median: $(awk '{ print $2 / $1 }' "$all/rows" | median) times"
