#!/usr/bin/env bash
# Instructions of the parts of a replica, counted by callgrind: they do not depend on what else the
# machine does, so two builds can be compared to a percent.
#
#     benches/instructions.sh [PART]...          a table; without a name of every part
#     benches/instructions.sh --top [PART [ARGUMENT]...]
#                                                the 25 most expensive functions of one part
#                                                [replica --batch 75 --scheme ed25519]
#
# Parts: replica ordering due execution log request proposal replies sign verify. Each runs with two
# numbers of requests, and the table has the difference, so that the start does not count. valgrind
# has no AVX-512 and no SHA instructions: code that asks the processor takes its other way. SHA-256
# in software costs some twenty times as many instructions as with those of the processor, more than
# half of all, so the last column leaves it out.
#
#     INSTRUCTIONS   the binary [built from the crate in benches/]
#     FACTOR         multiplies the numbers of requests [1]

set -euo pipefail
export LC_ALL=C

fail() { printf 'instructions.sh: %s\n' "$*" >&2; exit 1; }

parts=(replica ordering due execution log request proposal replies sign verify)
known() {
    local part
    for part in "${parts[@]}"; do [ "$part" != "$1" ] || return 0; done
    fail "there is no part $1; there are: ${parts[*]}"
}

if [ "${1:-}" = --top ]; then
    [ $# -lt 2 ] || known "$2"
else
    for part; do known "$part"; done
fi
command -v valgrind >/dev/null && command -v callgrind_annotate >/dev/null ||
    fail "needs valgrind, which is not installed; on Debian: apt-get install valgrind"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=${INSTRUCTIONS:-}
if [ -z "$binary" ]; then
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
    "${CARGO:-cargo}" build --locked --release --manifest-path benches/Cargo.toml \
        --bin instructions >&2
    binary=$CARGO_TARGET_DIR/release/instructions
fi
[ -x "$binary" ] || fail "there is no program $binary"
factor=${FACTOR:-1}
all=$(mktemp -d)
trap 'rm -rf "$all"' EXIT
trap 'exit 130' INT TERM

# run OUT PREPARE TIMES ARGUMENT...: one run
run() {
    local out=$1 prepare=$2 times=$3
    shift 3
    valgrind --tool=callgrind --callgrind-out-file="$out" \
        "$binary" "$@" --times "$times" --prepare "$prepare" >"$out.log" 2>&1 ||
        fail "$binary $* --times $times fails under valgrind: $(tail -5 "$out.log")"
}

# functions OUT: instructions and name of each function, wherever its lines are from
functions() {
    callgrind_annotate --auto=no --threshold=100 "$1" | awk '
        /^ *[0-9,]+ \( *[0-9.]+%\)  [^ ]*:/ {
            count = $1
            gsub(",", "", count)
            sub(/^ *[0-9,]+ \( *[0-9.]+%\)  [^:]*:/, "")
            sub(/ \[[^]]*\]$/, "")
            sub(/\x27[0-9]+$/, "")
            all[$0] += count
        }
        END { for (name in all) printf "%.0f %s\n", all[name], name }'
}

# total OUT: instructions in all, and those of SHA-256
total() { functions "$1" | awk '{ all += $1 } /sha2::sha256/ { sha += $1 } END { print all, sha + 0 }'; }

# row WHAT UNIT SHARES TIMES ARGUMENT...: instructions of one of UNIT, at each of SHARES replicas
row() {
    local what=$1 unit=$2 shares=$3 times=$(($4 * factor))
    shift 4
    run "$all/one" $((2 * times)) "$times" "$@"
    run "$all/two" $((2 * times)) $((2 * times)) "$@"
    echo "$(total "$all/one") $(total "$all/two")" |
        awk -v n="$times" -v shares="$shares" -v what="$what" -v unit="$unit" '{
            printf "| %s | %s | %.0f | %.0f |\n", what, unit, ($3 - $1) / n / shares,
                ($3 - $1 - $4 + $2) / n / shares
        }'
}

replica() {
    local scheme
    for scheme in keyed ed25519; do
        row "replica: all of it, $scheme, 1 request a round" "request, one replica" 3 200 \
            replica --scheme $scheme --batch 1
        row "replica: all of it, $scheme, 16 a round" "request, one replica" 3 800 \
            replica --scheme $scheme --batch 16
        row "replica: all of it, $scheme, 75 a round" "request, one replica" 3 1500 \
            replica --scheme $scheme --batch 75
        row "the same with durability none" "request, one replica" 3 1500 \
            replica --scheme $scheme --batch 75 --disk none
    done
}

ordering() {
    local size times
    while read -r size times; do
        row "ordering core, $size a round" "candidate, one core" 3 "$times" ordering --batch "$size"
    done <<<"1 500
16 4800
128 19200
1024 61440"
}

due() {
    local size times
    while read -r size times; do
        row "last proposal and what is due by it, of $size" request 1 "$times" due --batch "$size"
    done <<<"16 1600
128 6400
1024 20480"
}

execution() { row "sessions and a put of 128 bytes" request 1 20000 execution; }
log() { row "log in memory, 64 records at a time" "record of 200 bytes" 1 12800 log --batch 64; }
request() { row "a request's frame written, read, hashed" request 1 5000 request; }
proposal() { row "a proposal of 75 written and read" proposal 1 1000 proposal; }
replies() { row "75 replies written and read" message 1 1000 replies; }
sign() { row "a proposal of 75 signed, ed25519" signature 1 200 sign; }
verify() { row "a signature checked, ed25519" signature 1 200 verify; }

if [ "${1:-}" = --top ]; then
    shift
    [ $# -gt 0 ] || set -- replica --batch 75 --scheme ed25519
    run "$all/out" $((3000 * factor)) $((3000 * factor)) "$@"
    echo "$* --times $((3000 * factor)), its start included:"
    echo
    echo "| instructions | of all | function |"
    echo "| ---: | ---: | --- |"
    functions "$all/out" | sort -rn | awk '
        { all += $1; if (NR <= 25) { count[NR] = $1; $1 = ""; name[NR] = substr($0, 2, 120) } }
        END {
            for (i = 1; i in count; i++)
                printf "| %.0f | %.1f %% | `%s` |\n", count[i], 100 * count[i] / all, name[i]
        }'
    exit
fi

[ $# -gt 0 ] || set -- "${parts[@]}"
echo "| what | of each | instructions | without SHA-256 |"
echo "| --- | --- | ---: | ---: |"
for part; do $part; done
