#!/usr/bin/env bash
# Builds the Lambda bootstrap of every function into bin/lambda/<name>/bootstrap.
# LAMBDA_ARCH (amd64 or arm64) names the processor; the default is this one's.
# LAMBDA_DIR names another folder than bin/lambda.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

arch=${LAMBDA_ARCH:-$(go env GOARCH)}
dir=${LAMBDA_DIR:-bin/lambda}
built=0
for folder in functions/*/lambda; do
  [ -d "$folder" ] || continue
  name=$(basename "$(dirname "$folder")")
  # The tags leave out the RPC mode of retired runtimes and gRPC's tracing, which
  # would keep the linker from dropping unused methods.
  GOOS=linux GOARCH=$arch CGO_ENABLED=0 go build -tags lambda.norpc,grpcnotrace -trimpath \
    -ldflags "-s -w" -o "$dir/$name/bootstrap" "./$folder"
  printf '%10d bytes  %s\n' "$(wc -c <"$dir/$name/bootstrap")" "$dir/$name/bootstrap"
  built=$((built + 1))
done
[ "$built" -gt 0 ] || { echo "build-lambda: no functions/*/lambda found" >&2; exit 1; }
