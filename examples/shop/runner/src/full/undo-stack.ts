export interface UndoStack {
  add(step: () => Promise<unknown>): void
  /** Runs the steps, the last one first, each of them once. A step that fails is told of and does not stop the others. */
  run(): Promise<void>
}

/** What was started, and how to end it. */
export function undoStack(onError: (error: unknown) => void): UndoStack {
  const steps: (() => Promise<unknown>)[] = []
  let running: Promise<void> | undefined

  async function runAll(): Promise<void> {
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
      try {
        await step()
      } catch (error) {
        onError(error)
      }
    }
  }

  return {
    add: (step) => void steps.push(step),
    run() {
      running ??= runAll()
      return running
    },
  }
}
