import { type Plan, type PlannedStep, planPause, planStep } from './plan.js'

type Outlined = Pick<PlannedStep, 'name' | 'kind' | 'transactional' | 'pivot' | 'inDoubt' | 'group'> & {
  readonly compensates: boolean
}

/** A definition without its code, as JSON text: enough to decide what an operator may decide. */
export function outlineOf({ name, version, shape, steps }: Plan): string {
  const outlined = steps.map(
    ({ name, kind, transactional, pivot, inDoubt, group, compensate }): Outlined => ({
      name,
      kind,
      transactional,
      pivot,
      inDoubt,
      group,
      compensates: compensate !== undefined,
    }),
  )
  return JSON.stringify({ name, version, shape, steps: outlined })
}

/** A plan to decide by, not to run: a worker with the definition does what was decided. */
export function planFromOutline(outline: string): Plan {
  const { name, version, shape, steps } = JSON.parse(outline) as Pick<Plan, 'name' | 'version' | 'shape'> & {
    readonly steps: readonly Outlined[]
  }
  return { name, version, shape, steps: steps.map(stepOf), returns: undefined }
}

function stepOf({ compensates, ...outlined }: Outlined): PlannedStep {
  const { name, kind, transactional, pivot } = outlined
  const run = (): never => {
    throw new Error(`step '${name}' is only known in outline`)
  }
  const step =
    kind === 'step'
      ? planStep({ name, transactional, pivot, afterPivot: false, run, options: undefined })
      : planPause(name, false, { kind })
  return { ...step, ...outlined, compensate: compensates ? run : undefined }
}
