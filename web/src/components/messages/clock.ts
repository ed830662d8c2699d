import { useEffect, useState } from "preact/hooks";

/** The time in milliseconds, as performance.now() counts it; once a second while it `runs`. */
export function useClock(runs: boolean): number {
  const [now, setNow] = useState(performance.now());
  useEffect(() => {
    if (!runs) return;
    const clock = setInterval(() => setNow(performance.now()), 1000);
    return () => clearInterval(clock);
  }, [runs]);
  return Math.max(now, performance.now());
}
