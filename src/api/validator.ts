/**
 * Validators in the form of Standard Schema, as callers register them.
 *
 * @module
 */

/** One problem that a validator found. */
export interface ValidatorIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** A validator's verdict: the value, with defaults filled in, or the problems. */
export type ValidatorResult =
  | { readonly value: unknown; readonly issues?: undefined }
  | { readonly issues: readonly ValidatorIssue[] };

/** A schema by the rules of Standard Schema. */
export interface Validator {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => ValidatorResult | Promise<ValidatorResult>;
  };
}

/** Validators by the names under which collections ask for them. */
export type Validators = Readonly<Record<string, Validator>>;
