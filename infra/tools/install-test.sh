#!/usr/bin/env bash
# Installs what `make test` needs and the machine lacks: a C compiler for the
# race detector, git, a PostgreSQL server, Node with npm, Chromium, and the
# packages of the tests of the SDK, of single sign-on and in the browser. Does nothing
# where all is there; never asks a question.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

say() { printf 'install-test: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# as_root runs a command with root's rights, or returns 127 when there is no way
# to get them without a question.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 127
  fi
}

# apt is given its own PATH: a root shell opened with plain `su` lacks the sbin
# folders, and dpkg stops without them.
apt() {
  as_root env DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    apt-get -q -y -o Dpkg::Use-Pty=0 "$@" </dev/null
}

# install takes the Debian names first, then, after --, the Homebrew names.
install() {
  local debian=() brew=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do debian+=("$1"); shift; done
  [ $# -gt 0 ] && shift
  brew=("$@")
  say "installing ${debian[*]}"
  if [ -x /usr/bin/apt-get ]; then
    # The package lists may be fresh enough; only if not are they fetched.
    apt install --no-install-recommends "${debian[@]}" >/dev/null 2>&1 && return 0
    if apt update >/dev/null && apt install --no-install-recommends "${debian[@]}" >/dev/null; then
      return 0
    fi
  elif have brew && [ ${#brew[@]} -gt 0 ]; then
    brew install --quiet "${brew[@]}" && return 0
  fi
  say "could not install ${debian[*]}: install it by hand, or run this as root or with password-less sudo"
  return 1
}

have git || install git -- git
compiler=$(go env CC)
have "${compiler%% *}" || install gcc libc6-dev --
{ have node && have npm; } || install nodejs npm -- node
"$here/install-postgres.sh" >/dev/null

# The names under which the browser test looks for it.
mac="/Applications/Chromium.app/Contents/MacOS/Chromium"
{ have chromium || have chromium-browser || have google-chrome || [ -x "$mac" ]; } || install chromium -- --cask chromium

# npm writes node_modules/.package-lock.json last, so a copy that is older than
# the lock file is an install that is missing, stale or was cut short.
for folder in tests/sdk tests/sso tests/browser; do
  packages=$root/$folder
  if [ -f "$packages/package-lock.json" ] && ! [ "$packages/node_modules/.package-lock.json" -nt "$packages/package-lock.json" ]; then
    say "npm ci in $folder"
    (cd "$packages" && npm ci --no-audit --no-fund --loglevel=error </dev/null)
  fi
done
