import type { Server } from "node:http";

export function makeFakeServer(options?: { key?: string; openedFrom?: string; guest?: boolean; scopes?: string[] }): {
  server: Server;
  // Tests look into what was stored and asked as they please.
  conversations: Map<string, any>;
  asked: any[];
  titled: any[];
  state: { cancelled: number; loaded: Promise<unknown>; models: any[]; fetches: { offers: any[]; list: any[]; begun: any[]; removed: string[]; freeBytes: number; measuring: boolean }; traces: { asked: any[]; dropped: string[]; plan: { tokens: number; seconds: number; bytes: number; lens_seconds?: number }; polls: number; made: Map<string, any>; directions: any[]; written: Promise<unknown>; refuses?: string }; corrections: any[]; tunings: any[] };
};
