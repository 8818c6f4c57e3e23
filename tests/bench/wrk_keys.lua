-- Requests on many keys, made beforehand and sent one after the other.
--
--   wrk … -s wrk_keys.lua URL -- METHOD KEYS [BODY]
--
-- The last line of the output is the outcome as JSON, as outcome.lua has it.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "outcome.lua")

local REQUESTS = 20000
local requests, sent = {}, 0

function init(args)
   local keys = tonumber(args[2])
   math.randomseed(1)
   for i = 1, REQUESTS do
      local path = string.format("/keys/key:%012d?raw", math.random(0, keys - 1))
      requests[i] = wrk.format(args[1], path, {["Content-Type"] = "application/json"}, args[3])
   end
   sent = math.random(0, REQUESTS)
end

function request()
   sent = sent + 1
   return requests[sent % REQUESTS + 1]
end
