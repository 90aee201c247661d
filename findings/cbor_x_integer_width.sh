#!/usr/bin/env bash
# cbor-x 1.6.9 and cborg 6.1.5
# CBOR gives an integer one value, however many bytes it is written with. cbor-x gives a bigint for any integer that is
# written with eight bytes, also for 5, and a number for a shorter one. So a bigint that cbor-x writes comes back as a
# number once another library has decoded and written it again in the preferred, shortest form.
# Output seen:
#   written by cbor-x: 1b0000000000000005, read back: bigint
#   read and written again by cborg: 05, read by cbor-x: number
# 2026-11-30
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts cbor-x@1.6.9 cborg@6.1.5 >/dev/null
cat >run.mjs <<'JS'
import { decode, encode } from "cbor-x";
import * as cborg from "cborg";
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const first = encode(5n);
console.log(`written by cbor-x: ${hex(first)}, read back: ${typeof decode(first)}`);
const again = cborg.encode(cborg.decode(Uint8Array.from(first)));
console.log(`read and written again by cborg: ${hex(again)}, read by cbor-x: ${typeof decode(again)}`);
JS
node run.mjs | tee seen
diff seen - <<'TXT'
written by cbor-x: 1b0000000000000005, read back: bigint
read and written again by cborg: 05, read by cbor-x: number
TXT
