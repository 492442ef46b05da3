#!/usr/bin/env bash
# Fails when `go generate` would change a file: generated files are checked in,
# and must follow from their sources. Compares whole trees as git sees them, so
# that it works in a work tree with changes of its own, and finds new and deleted
# files too. What it generated stays, ready to be committed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

index=$(mktemp -d)
trap 'rm -rf "$index"' EXIT

# tree writes the work tree, ignored files left out, as a git tree.
tree() {
  GIT_INDEX_FILE=$index/index git add --all .
  GIT_INDEX_FILE=$index/index git write-tree
}

before=$(tree)
go generate ./...
after=$(tree)
if [ "$before" != "$after" ]; then
  echo "check-generated: these files did not follow from their sources; commit what make generate wrote:" >&2
  git --no-pager diff --stat "$before" "$after" >&2
  exit 1
fi
echo "check-generated: all generated files are up to date"
