/**
 * The executable: command line to command, errors to exit codes.
 *
 * @module
 */

import { VERSION } from "../src/base/version.ts";
import { commandLine, exit, onUncaught, runtimeName } from "../src/platform/process.ts";
import { parseCommandLine } from "./command_line.ts";
import { commandName, printGroup, printHelp, printOverview } from "./help.ts";
import { EXIT, print, reportError } from "./output.ts";
import { COMMANDS } from "./specs.ts";

async function main(words: readonly string[]): Promise<void> {
  const [first, second] = words;
  if (first === "help" && second !== undefined) return main([...words.slice(1), "--help"]);
  if (first === undefined || first === "help" || first === "--help" || first === "-h") {
    printOverview(COMMANDS);
    exit(first === undefined ? EXIT.usage : EXIT.ok);
  }
  if (second === "help") return main([first, "--help"]);
  if (first === "--version" || first === "-v" || first === "version") {
    print(`cstore ${VERSION} (${runtimeName()})`);
    return;
  }
  const group = COMMANDS.filter((spec) => commandName(spec).startsWith(`${first} `));
  const isOverview = second === undefined || second === "--help" || second === "-h";
  if (group.length > 0 && isOverview) {
    printGroup(group);
    exit(second === undefined ? EXIT.usage : EXIT.ok);
  }
  const { spec, words: rest, options, isHelp } = parseCommandLine(words, COMMANDS);
  if (isHelp) printHelp(spec);
  else await spec.run(rest, options);
}

// An error may come before the options are known, and is to be JSON then, too.
const wantsJson = commandLine().some((word) => word === "--json" || word === "--json=true");
onUncaught((cause) => exit(reportError(cause, wantsJson)));
try {
  await main(commandLine());
} catch (error) {
  exit(reportError(error, wantsJson));
}
