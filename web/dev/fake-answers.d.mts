export const CONTEXT: number; // tokens
