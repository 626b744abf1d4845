// What a package costs whoever bundles it: its root entry, minified and compressed, without its peers.
// A limit is today's size and a little room; raising one is a decision that a reviewer sees.

const limits = {
  retry: '20 KB',
  'circuit-breaker': '20 KB',
  saga: '20 KB',
  discovery: '20 KB',
  messaging: '20 KB',
}

export default Object.entries(limits).map(([name, limit]) => ({
  name: `@msx/${name}`,
  path: `packages/${name}/dist/index.js`,
  limit,
  modifyEsbuildConfig: (config) => ({ ...config, platform: 'node' }),
}))
