#!/usr/bin/env bash
# sorted-btree 2.1.0, with Node 20 or newer and Bun 1.4.5
# `import BTree from "sorted-btree"` is the class under Bun, and under Node an object whose `default` is the class: the
# package is CommonJS and marks itself as a translated module, which only Bun honours here.
# Output seen:
#   node: object function
#   bun: function undefined
# 2026-11-30
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund sorted-btree@2.1.0 bun@1.4.5 >/dev/null
cat >run.mjs <<'JS'
import BTree from "sorted-btree";
console.log(typeof BTree, typeof BTree.default);
JS
{ echo "node: $(node run.mjs)"; echo "bun: $(node_modules/.bin/bun run.mjs)"; } | tee seen
diff seen - <<'TXT'
node: object function
bun: function undefined
TXT
