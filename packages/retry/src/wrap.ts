import { functionOption, policyArgument } from './internal/validate.js'
import type { Policy } from './policy.js'

/**
 * A function with the same name, arguments and `this` whose every call goes through `policy`. A function that returns a
 * promise keeps its exact type, generics and overloads included.
 *
 * @throws TypeError when `fn` is no function or `policy` no policy.
 * @example
 * const loadUser = wrap(async (id: string) => db.users.find(id), retry())
 * const user = await loadUser('42')
 */
export function wrap<F extends (...args: never[]) => PromiseLike<unknown>>(fn: F, policy: Policy): F
export function wrap<A extends unknown[], R, F>(
  fn: (...args: A) => R,
  policy: Policy<F>,
): (...args: A) => Promise<Awaited<R> | F>
export function wrap(fn: (...args: unknown[]) => unknown, policy: Policy<unknown>): (...args: unknown[]) => unknown {
  functionOption('wrap: fn', fn)
  policyArgument('wrap: policy', policy)

  function wrapped(this: unknown, ...args: unknown[]): Promise<unknown> {
    return policy.execute(() => fn.apply(this, args))
  }

  Object.defineProperty(wrapped, 'name', { value: fn.name, configurable: true })
  Object.defineProperty(wrapped, 'length', { value: fn.length, configurable: true })
  return wrapped
}
