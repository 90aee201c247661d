#!/usr/bin/env bash
# hdr-histogram-js 3.0.1
# The lowest non-zero value of a histogram without values is 2^53 - 1, although its highest value, its mean and its
# percentiles are 0: a report of an idle interval shows a minimum far above its maximum.
# Output seen:
#   min 9007199254740991 max 0 mean 0 p50 0 count 0
# 2026-11-30
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund hdr-histogram-js@3.0.1 >/dev/null
cat >run.mjs <<'JS'
import { build } from "hdr-histogram-js";
const empty = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000 });
const { minNonZeroValue, maxValue, mean, totalCount } = empty;
console.log(
  `min ${minNonZeroValue} max ${maxValue} mean ${mean} p50 ${empty.getValueAtPercentile(50)} count ${totalCount}`,
);
JS
node run.mjs | tee seen
diff seen - <<'TXT'
min 9007199254740991 max 0 mean 0 p50 0 count 0
TXT
