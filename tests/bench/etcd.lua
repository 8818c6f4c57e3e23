-- Reads or writes 1,000 keys in turn, or one: of kv, or of etcd's own gateway.
--
--   wrk … -s etcd.lua URL -- PEER METHOD KEYS
--
-- All requests are made before the first is sent, so that both peers cost the generator the same.
-- The last line of the output is the outcome as JSON, as outcome.lua has it.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "outcome.lua")

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local value = '"' .. string.rep("x", 100) .. '"'
local requests, turn = {}, 0

local function base64(text)
   local out = {}
   for at = 1, #text, 3 do
      local a, b, c = text:byte(at, at + 2)
      local bits = a * 65536 + (b or 0) * 256 + (c or 0)
      for place = 3, 0, -1 do
         local index = math.floor(bits / 64 ^ place) % 64 + 1
         out[#out + 1] = alphabet:sub(index, index)
      end
      if not b then out[#out - 1] = "=" end
      if not c then out[#out] = "=" end
   end
   return table.concat(out)
end

local function request_of(peer, method, key)
   local json = { ["Content-Type"] = "application/json" }
   if peer == "kv" then
      local body = method == "PUT" and value or nil
      return wrk.format(method, "/keys/" .. key .. "?raw", json, body)
   elseif method == "GET" then
      return wrk.format("POST", "/v3/kv/range", json, '{"key":"' .. base64(key) .. '"}')
   end
   local body = '{"key":"' .. base64(key) .. '","value":"' .. base64(value) .. '"}'
   return wrk.format("POST", "/v3/kv/put", json, body)
end

function init(args)
   for index = 1, tonumber(args[3]) do
      requests[index] = request_of(args[1], args[2], "bench" .. index)
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end
