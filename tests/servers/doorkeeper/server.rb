# Debian's `ruby-doorkeeper` in one file, with Rails and SQLite. A refresh token works until an access token of the pair
# that followed it is used: the table has the column `previous_refresh_token`.
#
# POST /oauth/token is the package's own endpoint; POST /grant gives a new person's tokens; GET /resource is behind the
# package's own check of bearer tokens.

require "fileutils"
require "securerandom"

database = File.join(Dir.pwd, "server.db")
FileUtils.rm_f(database)
ENV["DATABASE_URL"] = "sqlite3:#{database}?timeout=20000"
ENV["RAILS_ENV"] = "production"

require "rails"
require "active_record/railtie"
require "action_controller/railtie"
require "doorkeeper"
require "rack"
require "webrick"

LIFETIME_S = Integer(ENV.fetch("ACCESS_TOKEN_S"))

class Server < Rails::Application
  config.root = Dir.pwd
  config.load_defaults 6.1
  config.allow_concurrency = false
  config.eager_load = false
  config.log_level = :error
  config.logger = Logger.new($stderr)
  config.secret_key_base = "a key of these tests alone"
end

Doorkeeper.configure do
  orm :active_record
  base_controller "ActionController::Base"
  access_token_expires_in LIFETIME_S
  use_refresh_token
end

Server.initialize!

ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define do
  create_table :oauth_applications do |t|
    t.string :name, :uid, :secret, null: false
    t.text :redirect_uri
    t.string :scopes, null: false, default: ""
    t.boolean :confidential, null: false, default: true
    t.timestamps
  end
  create_table :oauth_access_tokens do |t|
    t.references :resource_owner, :application, index: true
    t.string :token, null: false, index: { unique: true }
    t.string :refresh_token, index: { unique: true }
    t.integer :expires_in
    t.datetime :revoked_at
    t.datetime :created_at, null: false
    t.string :scopes
    t.string :previous_refresh_token, null: false, default: ""
  end
end

class ServerController < ActionController::Base
  skip_forgery_protection
  before_action :doorkeeper_authorize!, only: :resource

  def grant
    token = Doorkeeper::AccessToken.create!(
      application_id: Doorkeeper::Application.first.id,
      resource_owner_id: SecureRandom.random_number(2**31),
      expires_in: LIFETIME_S,
      use_refresh_token: true
    )
    render json: { access_token: token.token, refresh_token: token.refresh_token, expires_in: token.expires_in }
  end

  def resource
    render json: {}
  end
end

Rails.application.routes.draw do
  use_doorkeeper { skip_controllers :applications, :authorized_applications, :authorizations, :token_info }
  post "/grant", to: "server#grant"
  get "/resource", to: "server#resource"
end

Doorkeeper::Application.create!(
  name: "refreshd",
  uid: ENV.fetch("CLIENT_ID"),
  secret: ENV.fetch("CLIENT_SECRET"),
  redirect_uri: "https://client.example.com/callback"
)

trap("TERM") { exit! }
Rack::Handler::WEBrick.run(
  Rails.application,
  Host: "127.0.0.1",
  Port: Integer(ENV.fetch("PORT")),
  AccessLog: [],
  Logger: WEBrick::Log.new($stderr, WEBrick::Log::WARN),
  StartCallback: -> { $stdout.puts("listening") || $stdout.flush }
)
