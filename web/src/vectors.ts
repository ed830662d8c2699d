/** One array of a safetensors file: eight bytes of length, a header in JSON, then the numbers (docs/formats/safetensors.md). */
export function vectorIn(file: ArrayBuffer, name: string): number[] {
  const bytes = new DataView(file);
  const start = 8 + Number(bytes.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.slice(8, start))) as Record<string, { dtype: string; data_offsets: [number, number] } | undefined>;
  const found = header[name];
  if (found?.dtype !== "F32") throw new Error(`${name}: ${found ? found.dtype : "not there"}; F32 was expected.`);
  const [from, to] = found.data_offsets;
  return Array.from({ length: (to - from) / 4 }, (_, n) => bytes.getFloat32(start + from + 4 * n, true));
}
