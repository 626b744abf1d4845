export type { ResponseHead } from './undici/request.js'
export { type RetryInterceptor, type RetryInterceptorOptions, retryInterceptor } from './undici/retry-interceptor.js'
export { type TimeoutInterceptorOptions, timeoutInterceptor } from './undici/timeout-interceptor.js'
