#!/usr/bin/env bash
# cac 7.1.0
# A flag that is given the value 0 counts as set, and the value becomes the command's first word. A negative value of
# an option becomes an option of its own, an empty value becomes the number 0, and a lone dash
# disappears together with the word behind it.
# Output seen:
#   --flag=0 w     words [0,"w"]  options {"flag":true}
#   --n -5         words []       options {"5":true,"n":true}
#   --n ""         words []       options {"n":0}
#   - w            words []       options {}
# 2026-11-30
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund cac@7.1.0 >/dev/null
cat >run.mjs <<'JS'
import { cac } from "cac";
for (const words of [["--flag=0", "w"], ["--n", "-5"], ["--n", ""], ["-", "w"]]) {
  const program = cac("program");
  program.command("run [a] [b]", "").option("--flag", "").option("--n <n>", "");
  program.parse(["", "", "run", ...words], { run: false });
  const { "--": _, ...options } = program.options;
  console.log(JSON.stringify([program.args, options]));
}
JS
node run.mjs | tee seen
diff seen - <<'TXT'
[[0,"w"],{"flag":true}]
[[],{"5":true,"n":true}]
[[],{"n":0}]
[[],{}]
TXT
