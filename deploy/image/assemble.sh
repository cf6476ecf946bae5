#!/bin/sh
# Puts what is in the image below a directory: the program, the Graveyard, the loader and every library that the program names, and a user.
#
#   assemble.sh PROGRAM CONTENT BASE IMAGE
#
# CONTENT has the Graveyard and the licence, BASE is the root of the file system whose libraries run the program, IMAGE the directory that is made.
# Nothing of BASE is run, so it may be for another machine than this one.
set -eu
program=$1 content=$2 image=$4
base=$(cd "$3" && pwd -P)

fail() {
    echo "$1" >&2
    exit 1
}

# The same text in every language.
export LC_ALL=C
command -v readelf >/dev/null || fail "the image of the toolchain has no readelf (binutils): give another one (TOOLCHAIN)"
machine=$(readelf -h "${program}" | sed -n 's/^ *Machine: *//p')
case "${TARGETARCH:-$(uname -m)}: ${machine}" in
amd64:*X86-64 | x86_64:*X86-64) triple=x86_64-linux-gnu ;;
arm64:*AArch64 | aarch64:*AArch64) triple=aarch64-linux-gnu ;;
*) fail "the program is for ${machine:-an unknown machine}, the image for ${TARGETARCH:-$(uname -m)}: build it for the image's platform" ;;
esac

install -d "${image}/usr/bin" "${image}/usr/share/ark" "${image}/usr/share/doc/ark" "${image}/etc/ssl/certs"
install -m 0755 "${program}" "${image}/usr/bin/ark"
install -m 0444 "${content}/graveyard.wasm" "${image}/usr/share/ark/graveyard.wasm"
install -m 0444 "${content}/LICENSE" "${image}/usr/share/doc/ark/LICENSE"

# The loader is where the program says.
loader=$(readelf -l "${program}" | sed -n 's/.*program interpreter: \(.*\)]$/\1/p')
[ -e "${base}${loader}" ] || fail "the base has no ${loader:-loader}: it is for another machine or has another C library than the program"
install -D -m 0755 "${base}${loader}" "${image}${loader}"

# Libraries, and those that they name. Each is put where its directory really is: there the loader of its distribution looks for it.
waiting=${program}
found=" $(basename "${loader}") "
while [ -n "${waiting}" ]; do
    file=${waiting%% *}
    waiting=$(echo "${waiting#"${file}"}" | sed 's/^ *//')
    for name in $(readelf -d "${file}" | sed -n 's/.*(NEEDED).*\[\(.*\)]$/\1/p'); do
        case "${found}" in *" ${name} "*) continue ;; esac
        place=
        for directory in "lib/${triple}" "usr/lib/${triple}" lib64 usr/lib64 lib usr/lib; do
            if [ -e "${base}/${directory}/${name}" ]; then
                place=$(cd "${base}/${directory}" && pwd -P)/${name}
                break
            fi
        done
        [ -n "${place}" ] || fail "the base has no ${name}, which the program needs"
        install -D -m 0755 "${place}" "${image}/${place#"${base}"}"
        # Without the versions of symbols that it was linked with, the program would not start.
        offered=$(readelf -V "${place}" | sed -n 's/.* Rev: .* Name: //p')
        for version in $(readelf -V "${file}" | awk -v name="${name}" '/ File: / { of = $5 } / Name: / && of == name { print $3 }'); do
            echo "${offered}" | grep -qxF "${version}" ||
                fail "$(basename "${file}") needs ${version} of ${name}, and that of the base is older: build the program for this base"
        done
        found="${found}${name} "
        waiting="${waiting} ${place}"
        waiting=${waiting# }
    done
done

# Who signed the certificates of the servers that a host reaches, where the base has them.
if [ -e "${base}/etc/ssl/certs/ca-certificates.crt" ]; then
    install -m 0444 "${base}/etc/ssl/certs/ca-certificates.crt" "${image}/etc/ssl/certs/ca-certificates.crt"
fi
echo 'ark:x:10001:10001:ARK policy host:/var/lib/ark:/sbin/nologin' >"${image}/etc/passwd"
echo 'ark:x:10001:' >"${image}/etc/group"
echo 'hosts: files dns' >"${image}/etc/nsswitch.conf"
install -d -m 0700 -o 10001 -g 10001 "${image}/var/lib/ark" "${image}/var/backups/ark"
install -d -m 1777 "${image}/tmp"
find "${image}" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +
