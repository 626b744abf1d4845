/** FNV-1a, 32 bits, over UTF-16 units: the same number for the same text in every process and release. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)

  return hash >>> 0
}
