/** 1 KiB of JSON, what every request is answered with. */
export const BODY: string = filled(JSON.stringify({ id: '7', name: 'Teapot', price: 1_999, stock: 3, text: '' }), 1_024)

export const PATH = '/api/products/7'

export const ISSUER = 'https://id.example'
export const AUDIENCE = 'shop'

function filled(json: string, length: number): string {
  return `${json.slice(0, -2)}${'x'.repeat(length - json.length)}"}`
}
