#!/bin/sh
# Builds the program of the image, or takes the one that was built outside: /out/ark. Dockerfile.arch runs it in the image of the toolchain, with
# the sources in the current directory.
#
# From the environment: TARGETARCH (amd64 or arm64; empty: that of this machine), PREBUILT, PROFILE, SOURCE_DATE_EPOCH.
set -eu

case "${TARGETARCH:-$(uname -m)}" in
amd64 | x86_64) machine=x86_64 package=x86-64 libraries=amd64 ;;
arm64 | aarch64) machine=aarch64 package=aarch64 libraries=arm64 ;;
*)
    echo "there is no image for ${TARGETARCH}: take amd64 or arm64" >&2
    exit 1
    ;;
esac
mkdir -p /out
if [ -n "${PREBUILT:-}" ]; then
    cp "${PREBUILT}" /out/ark
    chmod 0755 /out/ark
    exit 0
fi

# For another machine there is a cross compiler of the distribution; its programs carry the machine in their names.
prefix=
if [ "${machine}" != "$(uname -m)" ]; then prefix="${machine}-linux-gnu-"; fi
if ! command -v rustup >/dev/null || ! command -v "${prefix}gcc" >/dev/null; then
    if command -v pacman >/dev/null; then
        pacman -Syu --noconfirm --needed rustup gcc ${prefix:+"${prefix}gcc"}
    elif command -v apt-get >/dev/null; then
        apt-get update -qq
        # Debian 12 has no package of rustup; the images of Rust have it already.
        apt-get install -y -qq --no-install-recommends gcc libc6-dev ${prefix:+"gcc-${package}-linux-gnu" "libc6-dev-${libraries}-cross"}
    fi
fi
for program in rustup "${prefix}gcc" "${prefix}strip"; do
    command -v "${program}" >/dev/null || {
        echo "the image of the toolchain has no ${program}: give another one (TOOLCHAIN)" >&2
        exit 1
    }
done
# The toolchain of rust-toolchain.toml, without its targets and components, which the program does not need.
toolchain=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
target="${machine}-unknown-linux-gnu"
export RUSTUP_TOOLCHAIN="${toolchain}"
rustup run "${toolchain}" rustc --version || rustup toolchain install --profile minimal "${toolchain}"
if [ -n "${prefix}" ]; then rustup target add "${target}"; fi

# The program must not depend on where it was built, nor on when.
RUSTFLAGS="--remap-path-prefix=$(pwd)=. --remap-path-prefix=${CARGO_HOME:-${HOME}/.cargo}=cargo"
linker=$(echo "CARGO_TARGET_${target}_LINKER" | tr 'a-z-' 'A-Z_')
export RUSTFLAGS SOURCE_DATE_EPOCH CARGO_INCREMENTAL=0 "${linker}=${prefix}gcc"
cargo build --profile "${PROFILE:-release}" --locked --target "${target}" --package ark-cli --bin ark
# Cargo names the directory of the profile `dev` otherwise.
"${prefix}strip" -o /out/ark "target/${target}/$(echo "${PROFILE:-release}" | sed 's/^dev$/debug/')/ark"
