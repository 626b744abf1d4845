// What a package costs whoever bundles it: minified and compressed with Brotli, without its peers. A limit is today's size
// and a little room; raising one is a decision that a reviewer sees.

const limits = [
  ['retry', '{ retry }', '3.8 KB'],
  ['retry', '*', '6.9 KB'],
  ['circuit-breaker', '{ circuitBreaker }', '5.4 KB'],
  ['circuit-breaker', '*', '7.2 KB'],
  ['saga', '*', '13.5 KB'],
  ['discovery', '*', '7.6 KB'],
  ['messaging', '*', '11.5 KB'],
]

export default limits.map(([name, names, limit]) => ({
  name: `@msx/${name} ${names}`,
  path: `packages/${name}/dist/index.js`,
  import: names,
  limit,
  modifyEsbuildConfig: (config) => ({ ...config, platform: 'node' }),
}))
