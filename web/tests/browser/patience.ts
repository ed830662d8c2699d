/** Milliseconds that a test waits for what has to come. So many because others may use the machine: what passes does not take them. */
export const PATIENCE = 300_000;
