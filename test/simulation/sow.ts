/**
 * Plants a bug into a run of tests: `CSTORE_PLANT=NAME bun test --preload ./test/simulation/sow.ts`.
 *
 * @module
 */

import { plantNamed, sow } from "./plants.ts";

const name = process.env["CSTORE_PLANT"];
if (name !== undefined) sow(plantNamed(name));
