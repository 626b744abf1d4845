/**
 * Keeps the process alive until the returned function is called. Sources watch in the background and keep nothing alive
 * themselves; whoever awaits what they find does.
 */
export function keepAlive(): () => void {
  const timer = setInterval(() => {}, 2 ** 31 - 1)
  return () => clearInterval(timer)
}
