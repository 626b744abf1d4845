export { createUserService, type UserServiceOptions } from './service.js'
