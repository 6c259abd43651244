#!/bin/sh
# Writes the stubs of protos/ into holdfast/ with a compiler of its own, in an environment that is thrown away.
#
# protobuf refuses generated code that is newer than its runtime, and accepts that of one major release
# before: code of the first 6.x compiler runs on every runtime from 6.30 through 7.x.
set -eu

COMPILER="grpcio-tools==1.72.2"

cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "$COMPILER"
for folder in holdfast/v1 holdfast/inference; do
    "$work/venv/bin/python" -m grpc_tools.protoc --proto_path=. \
        --python_out=.. --pyi_out=.. --grpc_python_out=.. "$folder"/*.proto
    printf '"""Stubs of protos/%s, written by protos/generate.sh: never edit them by hand."""\n' "$folder" \
        > "../$folder/__init__.py"
done
