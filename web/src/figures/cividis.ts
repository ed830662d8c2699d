/** Shares as lightness: cividis, which is read the same with every kind of colour vision (Nuñez, Anderson and Renslow 2018). */

// Eleven of its 256 colours, from 0 to 1, as red, green, blue (matplotlib's table). Between them, straight lines.
const STOPS: readonly (readonly [number, number, number])[] = [
  [0x00, 0x22, 0x4e], [0x08, 0x33, 0x70], [0x35, 0x45, 0x6c], [0x4f, 0x57, 0x6c], [0x66, 0x69, 0x70], [0x7d, 0x7c, 0x78],
  [0x94, 0x8e, 0x77], [0xae, 0xa3, 0x71], [0xc8, 0xb8, 0x66], [0xe5, 0xcf, 0x52], [0xfe, 0xe8, 0x38],
];

export interface Shade {
  background: string;
  ink: string; // black or white, whichever is read better on it: at least 4.5 to 1 on every one of them
}

/** The colour of a share from 0 to 1; what lies outside is drawn as the nearer end. */
export function cividis(share: number): Shade {
  const place = Math.min(1, Math.max(0, share)) * (STOPS.length - 1);
  const below = Math.min(STOPS.length - 2, Math.floor(place));
  const [from, to] = [STOPS[below], STOPS[below + 1]];
  if (!from || !to) throw new RangeError(`cividis: ${share} is not a number from 0 to 1.`);
  const colour = [0, 1, 2].map((n) => Math.round((from[n] ?? 0) + ((to[n] ?? 0) - (from[n] ?? 0)) * (place - below)));
  return { background: `rgb(${colour.join(" ")})`, ink: luminance(colour) > 0.18 ? "#000000" : "#ffffff" };
}

/** Relative luminance, 0 to 1, as WCAG 2.2 defines it. Contrast with black and with white are equal at 0.179. */
export function luminance(colour: readonly number[]): number {
  const [r = 0, g = 0, b = 0] = colour.map((each) => {
    const value = each / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
