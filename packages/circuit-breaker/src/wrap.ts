import type { Policy } from './policy.js'

type AnyFunction = (this: unknown, ...args: unknown[]) => unknown

/** A function of the same name that runs `fn` under the policy, with its own `this` and arguments. */
export function wrapFunction(policy: Policy, fn: AnyFunction): AnyFunction {
  const guarded: AnyFunction = function (...args) {
    return policy.execute(() => fn.apply(this, args))
  }
  return Object.defineProperty(guarded, 'name', { value: fn.name, configurable: true })
}
