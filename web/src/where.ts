/** Where the page is opened, as far as its address tells: what it promises about what is written depends on it. */

/** On the machine that serves it; or on another one, over plain or over encrypted HTTP. */
export type Where = "here" | "open" | "encrypted";

const LOOPBACK = /^(localhost|.*\.localhost|127(\.\d{1,3}){3}|\[::1\])$/;

export function whereIs({ hostname, protocol }: { hostname: string; protocol: string }): Where {
  if (LOOPBACK.test(hostname)) return "here";
  return protocol === "https:" ? "encrypted" : "open";
}

export const where = whereIs(location);
export const host = location.hostname;
