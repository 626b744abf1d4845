import type { ChildProcess } from 'node:child_process'

/** Ends a process and waits until it is gone; by default as the kernel does it when memory is short. */
export async function kill(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return

  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill(signal)
  await gone
}
