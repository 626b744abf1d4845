/** Whether a value, of whatever type, has these methods. Things are known by shape: they may come from another copy. */
export function hasMethods<T>(value: unknown, ...names: (keyof T & string)[]): value is T {
  return names.every((name) => typeof Object(value)[name] === 'function')
}
