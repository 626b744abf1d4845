import { type BinaryLike, randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'

/** What a hash costs: the parameters of scrypt (RFC 7914). */
export interface PasswordCost {
  readonly N: number
  readonly r: number
  readonly p: number
}

/**
 * Cost of a new hash: N = 2^14, r = 8, p = 5, one of the settings of OWASP's password storage cheat sheet. It takes
 * 16 MiB for a moment; N = 2^17 with p = 1, of the same list, takes 128, and several are hashed at once.
 */
const usualCost: PasswordCost = { N: 2 ** 14, r: 8, p: 5 }
const saltBytes = 16
const hashBytes = 32

/** `scrypt$N$r$p$salt$hash`: what is needed to check a password is in the value, so the cost may change later. */
export async function hashPassword(password: string, cost = usualCost): Promise<string> {
  const salt = randomBytes(saltBytes)
  const hash = await derive(normal(password), salt, hashBytes, cost)
  return ['scrypt', cost.N, cost.r, cost.p, salt.toString('base64url'), hash.toString('base64url')].join('$')
}

export async function verifyPassword(password: string, stored: string): Promise<boolean> {
  const [scheme, N, r, p, salt, hash] = stored.split('$')
  if (scheme !== 'scrypt' || salt === undefined || hash === undefined) {
    throw new Error('the stored password is not of the form scrypt$N$r$p$salt$hash')
  }

  const expected = Buffer.from(hash, 'base64url')
  const parameters = { N: Number(N), r: Number(r), p: Number(p) }
  const actual = await derive(normal(password), Buffer.from(salt, 'base64url'), expected.length, parameters)
  return timingSafeEqual(actual, expected)
}

/** The same characters typed on another keyboard may come as other code points (RFC 8265, OpaqueString). */
function normal(password: string): string {
  return password.normalize('NFC')
}

function derive(password: BinaryLike, salt: Buffer, length: number, { N, r, p }: PasswordCost): Promise<Buffer> {
  const options: ScryptOptions = { N, r, p, maxmem: 128 * r * (N + p + 2) }
  return new Promise((resolve, reject) => {
    scrypt(password, salt, length, options, (error, key) => (error === null ? resolve(key) : reject(error)))
  })
}
