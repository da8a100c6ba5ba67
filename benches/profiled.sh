#!/usr/bin/env bash
# Builds `quorate` by what it does under load: first so that it counts which way its code goes, then,
# after the loads below, as it is released, laid out by what was counted (profile-guided
# optimisation). The second is target/profiled/quorate. Same source, same checks, same files.
#
#     benches/profiled.sh
#
# Needs `llvm-profdata` of the compiler's LLVM: `rustup component add llvm-tools`. Takes two release
# builds and a minute of load on loopback, and ends what it started.
#
#     LLVM_PROFDATA  another llvm-profdata, of the version that `rustc -vV` names or later
#     SECONDS_EACH   how long each load takes [5]
#     CARGO, CARGO_TARGET_DIR  as for cargo; what is built is in profiled/ of the target
#     RUSTFLAGS  in addition to those of .cargo/config.toml, where cargo would take them instead
#
# and PORT and TMPDIR as in clusters.sh.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

each=${SECONDS_EACH:-5}
cargo=${CARGO:-cargo}
read -ra more <<<"${RUSTFLAGS:-}"
unset RUSTFLAGS
host=$(rustc -vV | sed -n 's/^host: //p')
profdata=${LLVM_PROFDATA:-$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata}
if ! "$profdata" merge --help >/dev/null 2>&1; then
    echo "no $profdata: \`rustup component add llvm-tools\`, or name one in LLVM_PROFDATA" >&2
    exit 1
fi
mkdir -p "${CARGO_TARGET_DIR:-target}/profiled"
target=$(realpath "${CARGO_TARGET_DIR:-target}/profiled")

# build NAME FLAG: with --target, so that build scripts and macros are not built with the flags. They
# go to cargo as configuration, which joins them to those of .cargo/config.toml; RUSTFLAGS would stand
# in place of those, and the code for AVX-512 would be missing.
build() {
    local flags
    flags=$(printf "'%s'," "${more[@]}" "$2")
    CARGO_TARGET_DIR=$target/$1 "$cargo" build --locked --release --bin quorate --target "$host" \
        --config "build.rustflags=[$flags]"
}

build counting "-Cprofile-generate=$target/counts"
QUORATE=$target/counting/$host/release/quorate
rm -rf "$target/counts"
source benches/clusters.sh

# under_load NAME ARGUMENT...: what replicas and client counted is written when they end
under_load() {
    load_with "$1" "$all/out" --seconds "$each" "${@:2}"
    [ "$(field "$all/out" total)" = 0 ] || { say "errors under load:" >&2; cat "$all/out" >&2; exit 1; }
    say "$1, ${*:2}: $(field "$all/out" ops_per_second) a second"
}

make voting reply 1s
start_all voting
sleep 2
under_load voting --clients 4 --outstanding 64
under_load voting --clients 16 --outstanding 64
under_load voting --clients 4 --outstanding 64 --commands-per-request 16
under_load voting --clients 4 --outstanding 64 --mix put=50,get=40,incr=5,delete=5
under_load voting --clients 1 --outstanding 1
under_load voting --clients 4 --outstanding 64 --mix get=1
stop_all voting

make memory none 1s
start_all memory
sleep 2
under_load memory --clients 4 --outstanding 64
stop_all memory

model=fail-stop make chain reply 1s
start_all chain
sleep 4
under_load chain --clients 4 --outstanding 64
under_load chain --clients 4 --outstanding 64 --mix get=1
stop_all chain

"$profdata" merge -o "$target/counts.profdata" "$target"/counts/*.profraw
build laid-out "-Cprofile-use=$target/counts.profdata"
cp "$target/laid-out/$host/release/quorate" "$target/quorate"
say "$target/quorate"
