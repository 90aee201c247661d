/**
 * The versions that appear on the wire, on disk and in `--version`.
 *
 * @module
 */

/** Product version; the same as in package.json. */
export const VERSION = "0.1.0";
/** Version byte of every frame. */
export const PROTOCOL_VERSION = 1;
/** Version in every segment and snapshot header. */
export const DISK_FORMAT_VERSION = 1;
