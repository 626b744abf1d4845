import type { Policy } from './policy.js'

type AnyFunction = (this: unknown, ...args: unknown[]) => unknown

/** A function of the same name that runs `fn` under the policy, with its own `this` and arguments. */
export function wrapFunction(policy: Policy, fn: AnyFunction): AnyFunction {
  const wrapped = named(fn.name, function (this: unknown, ...args) {
    return policy.execute(() => fn.apply(this, args))
  })
  return Object.defineProperty(wrapped, 'length', { value: fn.length, configurable: true })
}

/** The function under another name: stack traces should tell what was guarded. */
export function named<F extends AnyFunction>(name: PropertyKey, fn: F): F {
  return Object.defineProperty(fn, 'name', { value: name, configurable: true })
}
