#!/usr/bin/env bash
# build.sh PACKAGE FILE builds a command and shows how far it is. A warm build
# prints nothing; a cold one, which takes minutes, counts what it fetches and
# compiles. What the compiler has to say is passed on as it is, and a failed build
# fails here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
package=$1 file=$2

command -v go >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/doc/install" >&2; exit 1; }

# One rewritten line on a terminal, a line every hundred elsewhere. Read by bash,
# because some awks hold back what a pipe brings until a block of it is full.
progress() {
  local line fetched=0 built=0 open=
  show() {
    if [ -t 2 ]; then
      printf '\r\033[K%s' "$1" >&2
      open=1
    elif [ $(((fetched + built) % 100)) -eq 1 ]; then
      printf '%s\n' "$1" >&2
    fi
  }
  finish() { [ -z "$open" ] || printf '\r\033[K' >&2; open=; }
  while IFS= read -r line; do
    case $line in
      "go: downloading "*)
        fetched=$((fetched + 1))
        show "fetching modules: $fetched"
        ;;
      *[!A-Za-z0-9_./~-]* | "") # no package path: the compiler or the linker speaks
        finish
        printf '%s\n' "$line" >&2
        ;;
      *)
        built=$((built + 1))
        show "building $file: $built packages compiled"
        ;;
    esac
  done
  finish
}

mkdir -p "$(dirname "$file")"
go build -v -o "$file" "$package" 2>&1 </dev/null | progress
